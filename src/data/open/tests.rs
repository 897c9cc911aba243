use std::io::{Cursor, Write};

use ::tar::EntryType;
use ::zip::CompressionMethod;

use super::*;

const TEXT: &[u8] = b"1 2 1\n3 4 1\n";

/// What reading a file of these bytes gives: its content, or the message.
fn opened(bytes: &[u8], member: Option<&str>) -> Result<Vec<u8>, String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("raw");
    std::fs::write(&path, bytes).unwrap();
    let shorten = |message: String| message.replace(&path.display().to_string(), "raw");
    let mut stream = open(&path, member).map_err(|error| shorten(error.to_string()))?;
    let mut content = Vec::new();
    stream.read_to_end(&mut content).map_err(|error| error.to_string())?;
    Ok(content)
}

fn message(bytes: &[u8], member: Option<&str>) -> String {
    opened(bytes, member).unwrap_err()
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    ::zstd::encode_all(bytes, 3).unwrap()
}

pub fn tar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = ::tar::Builder::new(Vec::new());
    for (name, bytes) in members {
        let mut header = ::tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_entry_type(if name.ends_with('/') { EntryType::Directory } else { EntryType::Regular });
        builder.append_data(&mut header, name, *bytes).unwrap();
    }
    builder.into_inner().unwrap()
}

fn zip(members: &[(&str, &[u8])], method: CompressionMethod) -> Vec<u8> {
    let mut writer = ::zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options = ::zip::write::SimpleFileOptions::default().compression_method(method);
    for (name, bytes) in members {
        if name.ends_with('/') {
            writer.add_directory(*name, options).unwrap();
        } else {
            writer.start_file(*name, options).unwrap();
            writer.write_all(bytes).unwrap();
        }
    }
    writer.finish().unwrap().into_inner()
}

pub fn deflated(members: &[(&str, &[u8])]) -> Vec<u8> {
    zip(members, CompressionMethod::Deflated)
}

#[test]
fn files_are_opened_by_what_they_hold() {
    assert_eq!(opened(TEXT, None).unwrap(), TEXT);
    assert_eq!(opened(b"", None).unwrap(), b"");
    assert_eq!(opened(&gzip(TEXT), None).unwrap(), TEXT);
    assert_eq!(opened(&[gzip(b"1 2 1\n"), gzip(b"3 4 1\n")].concat(), None).unwrap(), TEXT, "members are joined");
    assert_eq!(opened(&zstd(TEXT), None).unwrap(), TEXT);
    assert_eq!(opened(&[zstd(b"1 2 1\n"), zstd(b"3 4 1\n")].concat(), None).unwrap(), TEXT, "frames are joined");
}

#[test]
fn members_of_archives_are_read_by_name() {
    let long = format!("{}/u.data", "folder/".repeat(40));
    let members: &[(&str, &[u8])] =
        &[("ml-100k/", b""), ("ml-100k/README", b"r"), ("ml-100k/u.data", TEXT), (&long, b"9 9 9\n")];
    for archive in [
        deflated(members),
        zip(members, CompressionMethod::Stored),
        tar(members),
        gzip(&tar(members)),
        zstd(&tar(members)),
    ] {
        assert_eq!(opened(&archive, Some("ml-100k/u.data")).unwrap(), TEXT);
        assert_eq!(opened(&archive, Some("./ml-100k/u.data")).unwrap(), TEXT);
        assert_eq!(opened(&archive, Some(&long)).unwrap(), b"9 9 9\n");
    }
}

#[test]
fn the_only_file_of_an_archive_needs_no_name() {
    let members: &[(&str, &[u8])] = &[("ml-1m/", b""), ("ml-1m/ratings.dat", TEXT)];
    for archive in [deflated(members), tar(members), gzip(&tar(members))] {
        assert_eq!(opened(&archive, None).unwrap(), TEXT);
    }
    let inner = gzip(TEXT);
    for archive in [deflated(&[("a.gz", &inner)]), tar(&[("./a.gz", &inner)])] {
        assert_eq!(opened(&archive, None).unwrap(), TEXT, "a compressed member is decompressed too");
    }
}

#[test]
fn a_pax_header_names_and_sizes_its_member() {
    let mut builder = ::tar::Builder::new(Vec::new());
    builder.append_pax_extensions([("path", "größe/u.data".as_bytes()), ("size", b"12")]).unwrap();
    let mut header = ::tar::Header::new_ustar();
    header.set_path("short").unwrap();
    header.set_size(TEXT.len() as u64);
    header.set_cksum();
    builder.append(&header, TEXT).unwrap();
    assert_eq!(opened(&builder.into_inner().unwrap(), Some("größe/u.data")).unwrap(), TEXT);
}

#[test]
fn a_member_that_is_not_there_or_not_named_lists_those_there_are() {
    let names: Vec<String> = (0..23).map(|index| format!("f{index}")).collect();
    let many: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), TEXT)).collect();
    let shown = names[..20].join(", ");
    for archive in [deflated(&many), gzip(&tar(&many))] {
        assert_eq!(message(&archive, None), format!("`raw` holds 23 files; name one by `member`: {shown} and 3 more"));
        assert_eq!(
            message(&archive, Some("g")),
            format!("`raw` has no member `g`; it holds 23 files: {shown} and 3 more")
        );
    }
    for archive in [deflated(&[("d/", b"")]), tar(&[("d/", b"")])] {
        assert_eq!(message(&archive, None), "`raw` holds no file");
    }
    for plain in [TEXT.to_vec(), gzip(TEXT)] {
        let told = message(&plain, Some("a"));
        assert_eq!(told, "`raw` is no archive, so that `member: a` names nothing; leave it out");
    }
}

#[test]
fn a_path_that_leaves_the_archive_is_refused() {
    for path in ["../a", "d/../../a", "/etc/passwd", "\\a", "c:\\a", "d\\..\\a"] {
        let told = format!("`raw` the member path `{path}` leaves the archive; write it relative and without `..`");
        assert_eq!(message(&deflated(&[("a", TEXT)]), Some(path)), told);
    }
    assert!(member_mistake("./").is_some() && member_mistake("a..b/c").is_none());
    // The archive's own names are held to the same rule.
    assert!(message(&deflated(&[("../a", TEXT)]), None).contains("leaves the archive"));
    let mut evil = tar(&[("xx/a", TEXT)]);
    let mut header = ::tar::Header::from_byte_slice(&evil[..512]).clone();
    header.as_mut_bytes()[..2].copy_from_slice(b"..");
    header.set_cksum();
    evil[..512].copy_from_slice(header.as_bytes());
    assert!(message(&evil, None).contains("leaves the archive"));
}

/// Zeros without end, or as many as asked for.
fn zeros(bytes: u64) -> impl Read {
    io::repeat(0).take(bytes)
}

#[test]
fn a_decompression_bomb_is_stopped() {
    let bytes = RATIO_FREE + (8 << 20);
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    io::copy(&mut zeros(bytes), &mut encoder).unwrap();
    let gz = encoder.finish().unwrap();
    let mut writer = ::zip::ZipWriter::new(Cursor::new(Vec::new()));
    writer.start_file("bomb", ::zip::write::SimpleFileOptions::default()).unwrap();
    io::copy(&mut zeros(bytes), &mut writer).unwrap();
    let zipped = writer.finish().unwrap().into_inner();
    let zst = ::zstd::encode_all(zeros(bytes), 1).unwrap();
    for bomb in [gz, zipped, zst] {
        let told = message(&bomb, None);
        assert!(told.contains("to 1: this looks like a decompression bomb; if it is not, unpack it first"), "{told}");
    }
}

#[test]
fn truncated_and_damaged_files_are_told() {
    let text: Vec<u8> = (0..2000).flat_map(|n: u32| format!("{} {} 1\n", n * 7919 % 911, n).into_bytes()).collect();
    for whole in [gzip(&text), zstd(&text), gzip(&tar(&[("a", &text)]))] {
        let told = message(&whole[..whole.len() - 40], None);
        assert!(told.contains("the compressed data are truncated; fetch the file again"), "{told}");
    }
    let whole = tar(&[("a", &text)]);
    assert!(message(&whole[..700], Some("a")).contains("the archive is truncated"));
    assert!(message(&whole[..700], None).contains("the archive is truncated"));
    for whole in [deflated(&[("a", &text)]), zip(&[("a", &text)], CompressionMethod::Stored)] {
        let told = message(&whole[..whole.len() - 40], None);
        assert!(told.contains("the zip archive is truncated or damaged"), "{told}");
        let mut wrong = whole.clone();
        wrong[60] ^= 0x20;
        let told = message(&wrong, None);
        assert!(told.contains("damaged"), "{told}");
    }
    let mut wrong = gzip(&text);
    let middle = wrong.len() / 2;
    wrong[middle] ^= 0x20;
    assert!(message(&wrong, None).contains("the compressed data are damaged"));
}

#[test]
fn a_tar_name_of_absurd_length_is_not_held() {
    let mut header = ::tar::Header::new_gnu();
    header.set_entry_type(EntryType::GNULongName);
    header.set_size(1 << 40);
    header.set_cksum();
    let told = message(header.as_bytes(), None);
    assert!(told.contains("states a name of 1099511627776 bytes"), "{told}");
}

#[test]
fn an_encrypted_member_is_refused() {
    let mut bytes = deflated(&[("secret.csv", TEXT)]);
    // Bit 0 of the flags, in the member's header and in the directory.
    let directory = bytes.windows(4).position(|window| window == b"PK\x01\x02").unwrap();
    bytes[6] |= 1;
    bytes[directory + 8] |= 1;
    let told = "`raw` holds `secret.csv` encrypted; decrypt it and name the result as the source";
    assert_eq!(message(&bytes, None), told);
}

#[test]
fn what_is_not_read_says_what_to_do() {
    let xz = message(b"\xfd7zXZ\0\0", None);
    let told =
        "is compressed by xz; gzip, Zstandard, zip and tar are read: unpack it and name the result as the source";
    assert_eq!(xz, format!("`raw` {told}"));
    assert!(message(b"BZh91AY&SY", None).contains("compressed by bzip2"));
    assert_eq!(opened(b"BZh9 is a user", None).unwrap(), b"BZh9 is a user");

    let twice = "is packed twice (gzip inside); unpack the outer one and name the result as the source";
    assert_eq!(message(&gzip(&gzip(TEXT)), None), format!("`raw` {twice}"));
    let inner = deflated(&[("a", TEXT)]);
    assert!(message(&gzip(&inner), None).contains("(a zip archive inside)"));
    assert!(message(&deflated(&[("b.zip", &inner)]), None).contains("(a zip archive inside)"));

    let parquet = b"PAR1....PAR1";
    assert!(message(parquet, None).contains("is a Parquet file; say `format: { parquet:"));
    assert!(message(&deflated(&[("a.parquet", parquet)]), None).contains("unpack it and name the result"));
    assert!(message(&gzip(parquet), None).contains("holds a Parquet file"));
}

#[test]
fn files_that_are_read_by_seeking_must_be_unpacked() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("raw");
    let tell = |bytes: &[u8], member| {
        std::fs::write(&path, bytes).unwrap();
        open_unpacked(&path, member).map(|_| ()).map_err(|error| error.to_string())
    };
    tell(b"PAR1....PAR1", None).unwrap();
    assert!(tell(b"PAR1....PAR1", Some("a")).unwrap_err().contains("is no archive"));
    assert!(tell(&deflated(&[("a", b"PAR1")]), None).unwrap_err().contains("unpack it"));
}
