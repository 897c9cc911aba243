use serde_json::json;

use super::machine::load;
use crate::data::format::Scan;
use crate::data::format::tests::{malformed, read, row};

type BlockWriter = Vec<(String, String, Option<i64>, Option<f32>)>;

fn pickle(bytes: &[u8]) -> Result<(BlockWriter, Scan), String> {
    read(json!("pickle"), bytes).map_err(|error| error.to_string().split_once("`: ").unwrap().1.to_owned())
}

fn refused(bytes: &[u8]) -> String {
    load(bytes).map(|_| ()).unwrap_err().to_string()
}

// Bytes of Python 3.11, `pickle.dumps({1: [2, 300, 70000], 'ann': (-1, 2**63), 3: []}, protocol=p)`.
const PROTOCOL_0: &[u8] =
    b"(dp0\nI1\n(lp1\nI2\naI300\naI70000\nasVann\np2\n(I-1\nL9223372036854775808L\ntp3\nsI3\n(lp4\ns.";
const PROTOCOL_1: &[u8] =
    b"}q\x00(K\x01]q\x01(K\x02M,\x01Jp\x11\x01\x00eX\x03\x00\x00\x00annq\x02(J\xff\xff\xff\xffL9223372036854775808L\ntq\x03K\x03]q\x04u.";
const PROTOCOL_3: &[u8] = b"\x80\x03}q\x00(K\x01]q\x01(K\x02M,\x01Jp\x11\x01\x00eX\x03\x00\x00\x00annq\x02J\xff\xff\xff\xff\x8a\t\x00\x00\x00\x00\x00\x00\x00\x80\x00\x86q\x03K\x03]q\x04u.";
const PROTOCOL_4: &[u8] = b"\x80\x04\x951\x00\x00\x00\x00\x00\x00\x00}\x94(K\x01]\x94(K\x02M,\x01Jp\x11\x01\x00e\x8c\x03ann\x94J\xff\xff\xff\xff\x8a\t\x00\x00\x00\x00\x00\x00\x00\x80\x00\x86\x94K\x03]\x94u.";

#[test]
fn users_and_their_items_are_read_in_every_protocol() {
    let rows = [
        row("1", "2", Some(0), None),
        row("1", "300", Some(1), None),
        row("1", "70000", Some(2), None),
        row("ann", "-1", Some(0), None),
        row("ann", "9223372036854775808", Some(1), None),
    ];
    for bytes in [PROTOCOL_0, PROTOCOL_1, PROTOCOL_3, PROTOCOL_4] {
        let (read, scan) = pickle(bytes).unwrap();
        assert_eq!((&read[..], scan.malformed_lines), (&rows[..], 0));
    }
    assert_eq!(pickle(b"").unwrap().1, Scan::default());
}

#[test]
fn text_of_every_opcode_is_a_key() {
    for (item, bytes) in [
        ("a", &b"}K\x01]U\x01aas."[..]),
        ("a", b"}K\x01]T\x01\x00\x00\x00aas."),
        ("a", b"}K\x01]\x8d\x01\x00\x00\x00\x00\x00\x00\x00aas."),
        ("a", b"}K\x01]S'a'\nas."),
        ("é→😀", b"}K\x01]V\xe9\\u2192\\U0001f600\nas."),
        ("-128", b"}K\x01]\x8a\x01\x80as."),
        ("128", b"}K\x01]\x8b\x02\x00\x00\x00\x80\x00as."),
        ("0", b"}K\x01]\x8a\x00as."),
    ] {
        assert_eq!(pickle(bytes).unwrap().0, [row("1", item, Some(0), None)], "{}", bytes.escape_ascii());
    }
}

#[test]
fn the_memo_and_the_stack_work_as_in_python() {
    // One list under two keys, by each way to remember and recall; DUP, POP, POP_MARK, TUPLE1 and DICT.
    let rows = [row("1", "7", Some(0), None), row("2", "7", Some(0), None)];
    for bytes in [
        &b"}(K\x01]q\x05K\x07aK\x02h\x05u."[..],
        b"}(K\x01]r\x05\x00\x00\x00K\x07aK\x02j\x05\x00\x00\x00u.",
        b"}(K\x01]p5\nK\x07aK\x02g5\nu.",
        b"}(K\x01]\x94K\x07aK\x02h\x00u.",
        b"(K\x01K\x07\x85q\x00K\x02h\x00d.",
        b"(K\x01K\x09(K\x0810K\x07\x8520K\x02]K\x07ad.",
    ] {
        let (read, _) = pickle(bytes).unwrap_or_else(|told| panic!("{told}: {}", bytes.escape_ascii()));
        assert_eq!(read[..1], rows[..1], "{}", bytes.escape_ascii());
        assert_eq!(read.last(), rows.last(), "{}", bytes.escape_ascii());
    }
}

#[test]
fn opcodes_that_could_execute_are_refused_by_name_and_place() {
    let plain = "only dict, list, tuple, int, float, str, bool and None are read, and nothing is executed";
    // `os.system("true")`, as protocols 0 and 4 write it.
    assert_eq!(refused(b"cposix\nsystem\n(S'true'\ntR."), format!("byte 0: opcode GLOBAL (`posix.system`): {plain}"));
    let told = refused(b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x04true\x85R.");
    assert_eq!(told, format!("byte 17: opcode STACK_GLOBAL (`posix.system`): {plain}"));
    for (bytes, name) in [
        (&b"R"[..], "REDUCE"),
        (b"b", "BUILD"),
        (b"i", "INST"),
        (b"o", "OBJ"),
        (b"\x81", "NEWOBJ"),
        (b"\x92", "NEWOBJ_EX"),
        (b"\x82\x01", "EXT1"),
        (b"\x83\x01\x00", "EXT2"),
        (b"\x84\x01\x00\x00\x00", "EXT4"),
        (b"P1\n", "PERSID"),
        (b"Q", "BINPERSID"),
        (b"C\x00", "SHORT_BINBYTES"),
        (b"B\x00\x00\x00\x00", "BINBYTES"),
        (b"\x8e", "BINBYTES8"),
        (b"\x96", "BYTEARRAY8"),
        (b"\x8f", "EMPTY_SET"),
        (b"\x91", "FROZENSET"),
        (b"\x97", "NEXT_BUFFER"),
        (b"\x98", "READONLY_BUFFER"),
    ] {
        assert_eq!(refused(&[b"NN", bytes].concat()), format!("byte 2: opcode {name}: {plain}"));
    }
}

#[test]
fn numpy_values_are_refused_with_advice() {
    let told = refused(b"\x80\x03}q\x00K\x01]q\x01cnumpy.core.multiarray\nscalar\nq\x02");
    assert!(told.starts_with("byte 10: opcode GLOBAL (`numpy.core.multiarray.scalar`)"), "{told}");
    assert!(told.ends_with("turn numpy values into plain ones by `.tolist()` or `int(...)` and save the pickle again"));
}

#[test]
fn lengths_are_not_believed_and_damage_is_told() {
    for (bytes, told) in [
        (&b"X\xff\xff\xff\xffabc"[..], "byte 0: 4294967295 bytes are stated and 3 are left: truncated"),
        (
            b"\x8d\xff\xff\xff\xff\xff\xff\xff\xffabc",
            "byte 0: 18446744073709551615 bytes are stated and 3 are left: truncated",
        ),
        (b"\x8b\xff\xff\xff\x7f1", "byte 0: 2147483647 bytes are stated and 1 are left: truncated"),
        (b"\x8a\x1100000000000000000", "byte 0: an int of 17 bytes; at most 16 are read"),
        (b"\x80\x06", "byte 0: protocol 6; 0 to 5 are read"),
        (b"}", "byte 1: 1 bytes are stated and 0 are left: truncated"),
        (b"I12", "byte 0: a line without end: truncated"),
        (b"Ix\n", "byte 0: an int that is no number of at most 16 bytes"),
        (b"Fx\n", "byte 0: a FLOAT that is no number"),
        (b"S'\\n'\n", "byte 0: a STRING with escapes or without quotes"),
        (b"V\\ud800\n", "byte 0: an escape in a str that is no character"),
        (b"U\x01\xff", "byte 0: a str that is not UTF-8 text"),
        (b".", "byte 0: the stack is empty: the file is damaged"),
        (b"K\x01(0", "byte 3: the stack is empty: the file is damaged"),
        (b"e", "byte 0: no mark is open: the file is damaged"),
        (b"}(K\x01u", "byte 4: a key without a value"),
        (b"NNa", "byte 2: an append to None"),
        (b"]NNs", "byte 3: an entry for a list"),
        (b"h\x07", "byte 0: nothing was remembered as 7"),
        (b"g7x\n", "byte 0: a memo index that is no number"),
        (b"\xff", "byte 0: no opcode is 0xff: the file is damaged or no pickle"),
        (b"1,2,3\n", "byte 0: no mark is open: the file is damaged"),
    ] {
        assert_eq!(refused(bytes), told, "{}", bytes.escape_ascii());
    }
}

#[test]
fn what_is_no_dict_of_lists_is_told() {
    assert_eq!(pickle(b"].").unwrap_err(), "the pickle holds a list, and not a dict of users to lists of items");
    // {1: [1.5, 2, None, ''], 2: 3, None: [], 4: {}}
    let bytes = b"}(K\x01](G?\xf8\x00\x00\x00\x00\x00\x00K\x02NX\x00\x00\x00\x00eK\x02K\x03N]K\x04}u.";
    let (rows, scan) = pickle(bytes).unwrap();
    assert_eq!(rows, [row("1", "2", Some(1), None)]);
    assert_eq!(
        malformed(&scan),
        [
            (1, "1", "item 0 is a float; ids are ints, or strs that are not empty"),
            (1, "1", "item 2 is None; ids are ints, or strs that are not empty"),
            (1, "1", "item 3 is an empty str; ids are ints, or strs that are not empty"),
            (2, "2", "the user has an int, and not a list of items"),
            (3, "", "the user is None; ids are ints, or strs that are not empty"),
            (4, "4", "the user has a dict, and not a list of items"),
        ]
    );
}

#[test]
fn a_pickle_that_multiplies_or_contains_itself_costs_no_more_than_its_bytes() {
    // A list of 100 items that 100 users share.
    let mut bytes = b"}(K\x00](".to_vec();
    bytes.extend(b"K\x01".repeat(100));
    bytes.extend(b"eq\x00");
    (1..100).for_each(|user| bytes.extend([b'K', user, b'h', 0]));
    bytes.extend(b"u.");
    assert_eq!(pickle(&bytes).unwrap_err(), "the pickle repeats its lists until rows outnumber its bytes");
    // A list in itself, and a hundred thousand lists in each other.
    assert_eq!(pickle(b"}K\x01]q\x00h\x00as.").unwrap().1.malformed_lines, 1);
    let deep = [b"}K\x01".to_vec(), vec![b']'; 100_000], vec![b'a'; 99_999], b"s.".to_vec()].concat();
    assert_eq!(pickle(&deep).unwrap().1.malformed_lines, 1);
}

#[test]
fn a_pickle_of_more_than_64_mib_is_refused() {
    let told = pickle(&vec![b'N'; (64 << 20) + 1]).unwrap_err();
    assert_eq!(told, "a pickle of more than 64 MiB: save it as CSV or Parquet");
}
