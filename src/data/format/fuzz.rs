//! What must hold of any bytes in any format: one function for the fuzzer (`fuzz/`) and for the bounded run in the
//! tests, so that they cannot drift.

use std::io::{BufReader, Read, Write};

use super::{Format, KEPT, ParquetFile, Recbole, TEXT_LIMIT, presets};
use crate::data::ids::IdMap;
use crate::data::open::open;

/// Every format, with the columns of its usual files.
pub fn formats() -> Vec<Format> {
    let objects = presets::amazon_reviews_2018();
    vec![
        Format::Selfrec,
        Format::Adjacency,
        Format::Delimited(presets::food_com()),
        Format::Parquet(ParquetFile { columns: objects.columns.clone(), time_unit: objects.time_unit }),
        Format::JsonLines(objects),
        Format::Recbole(Recbole::default()),
        Format::Pickle,
        Format::Movielens100k,
        Format::MovielensDat,
        Format::MovielensCsv,
        Format::KuairecBig,
        Format::KuairecSmall,
        Format::FoodCom,
        Format::Yelp,
        Format::AmazonRatings2014,
        Format::AmazonRatings2018,
        Format::AmazonReviews2018,
        Format::AmazonReviews2023,
    ]
}

/// What became of a case.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CaseOutcome {
    pub rows: u64,
    pub malformed: u64,
    /// Whether the file was refused.
    pub refused: bool,
}

/// Reads one case: the first byte picks the format, the others are the file.
///
/// # Errors
/// The temporary file cannot be written.
///
/// # Panics
/// A reader broke a promise: ids without keys, weights that are no numbers, miscounted rows, or more rows or bytes of
/// keys than the file can hold.
pub fn case(bytes: &[u8]) -> std::io::Result<CaseOutcome> {
    let formats = formats();
    let Some((&pick, bytes)) = bytes.split_first() else { return Ok(CaseOutcome::default()) };
    let format = &formats[usize::from(pick) % formats.len()];
    let mut file = tempfile::NamedTempFile::new()?;
    file.write_all(bytes)?;

    let mut outcome = CaseOutcome::default();
    let mut keys = 0;
    let read = format.read(file.path(), None, &mut |block| {
        let rows = block.len();
        for column in [&block.user, &block.item] {
            let (mut map, mut ids) = (IdMap::default(), Vec::new());
            column.append_ids(&mut map, &mut ids)?;
            assert!(
                ids.len() == rows && ids.iter().all(|&id| (id as usize) < map.len()),
                "{format:?}: a row without a key"
            );
            keys += map.keys().map(str::len).sum::<usize>() as u64;
        }
        assert!(block.weight.iter().all(|weight| weight.is_finite()), "{format:?}: a weight that is no number");
        assert!(block.time.len() <= rows && block.weight.len() <= rows, "{format:?}");
        outcome.rows += rows as u64;
        Ok(())
    });
    match read {
        Ok(scan) => {
            assert_eq!(scan.rows, outcome.rows, "{format:?}: rows are miscounted");
            assert!(scan.malformed.len() <= KEPT && scan.malformed.iter().all(|bad| bad.text.len() <= TEXT_LIMIT));
            outcome.malformed = scan.malformed_lines;
        }
        Err(_) => outcome.refused = true,
    }
    // Parquet has encodings that give many rows for few bytes; all others are bounded by what the file unpacks to.
    if !matches!(format, Format::Parquet(_)) {
        let content = open(file.path(), None)
            .map_or(0, |stream| BufReader::new(stream).bytes().take_while(Result::is_ok).count());
        let content = content as u64;
        assert!(outcome.rows + outcome.malformed <= content, "{format:?}: {outcome:?} of {content} bytes");
        assert!(keys <= KEY_BYTES * content, "{format:?}: {keys} bytes of keys of {content} bytes");
    }
    Ok(outcome)
}

/// Bytes of keys for each byte of a file: a pickled integer of one byte has up to four digits and a sign.
const KEY_BYTES: u64 = 8;
