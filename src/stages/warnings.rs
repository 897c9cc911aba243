//! What should be known about data and splits: told while the stage runs and at the end of every run, and kept as an
//! artifact, so that tables can say it of what they show.

use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray};

use super::columns::texts;
use super::tables::batch;
use crate::engine::stage::{Context, Input, Stage, StageError};
use crate::spec::{Column, Form, Output};
use crate::store::parquet;

/// The artifact `warnings`.
pub const OUTPUT: Output = Output {
    name: "warnings",
    doc: "What should be known wherever the results are used; often nothing.",
    form: Form::Table(COLUMNS),
};

const COLUMNS: &[Column] = &[Column { name: "text", dtype: "utf8", doc: "A fact, such as how many rows were lost." }];

/// Tells the warnings, and writes the artifact of them.
pub fn tell<S: Stage>(context: &Context, warnings: &[String]) -> Result<(), StageError> {
    warnings.iter().for_each(|text| context.warn(text));
    let texts: ArrayRef = Arc::new(StringArray::from_iter_values(warnings));
    Ok(parquet::write(&context.output(OUTPUT.name), &batch(COLUMNS, vec![texts])?, &super::made_by::<S>())?)
}

/// The warnings of a source, each behind its labels, as sentences of a text without marks.
pub fn sentences(input: &Input) -> Result<Vec<String>, StageError> {
    let batch = parquet::read(input.artifact(OUTPUT.name)?)?;
    let labels: Vec<&str> = input.labels.iter().map(|(_, label)| label.as_str()).collect();
    let whose = if labels.is_empty() { String::new() } else { format!("{}: ", labels.join(", ")) };
    Ok(texts(&batch, "text")?.iter().flatten().map(|text| format!("{whose}{}.", text.replace('`', ""))).collect())
}
