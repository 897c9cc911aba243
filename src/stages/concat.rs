//! `concat`: tables of equal columns one below the other, each with its labels as columns.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Schema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::engine::stage::{Context, Input, Stage, StageError};
use crate::spec::{Arity, Form, Output, Port};
use crate::store::parquet;

pub struct Concat;

#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Params {}

impl Stage for Concat {
    type Params = Params;

    const KIND: &'static str = "concat";
    const VERSION: u32 = 2;
    const DOC: &'static str = "Tables of equal columns one below the other, each with its labels as columns.";
    const PORTS: &'static [Port] = &[Port { name: "tables", doc: "The tables.", artifacts: &[], arity: Arity::Many }];
    const OUTPUTS: &'static [Output] = &[Output {
        name: "table",
        doc: "A column per axis of the sources, then their columns; rows in the order of the sources.",
        form: Form::Table(&[]),
    }];
}

pub fn run(_params: &Value, context: &Context) -> Result<(), StageError> {
    let inputs: Vec<&Input> = context.inputs("tables").collect();
    let mut axes: Vec<&str> = Vec::new();
    for (axis, _) in inputs.iter().flat_map(|input| &input.labels) {
        if !axes.contains(&axis.as_str()) {
            axes.push(axis);
        }
    }
    let batches = inputs.iter().map(|input| labelled(input, &axes)).collect::<Result<Vec<_>, _>>()?;
    let first = batches.first().ok_or_else(|| StageError::new("nothing came in through port `tables`"))?;
    for (batch, input) in batches.iter().zip(&inputs) {
        if batch.schema() != first.schema() {
            return Err(StageError::new(format!(
                "the table of [{}] has other columns than that of [{}]:\n  {}\n  {}",
                labels(input),
                labels(inputs[0]),
                columns(batch),
                columns(first),
            )));
        }
    }
    let whole = concat_batches(&first.schema(), &batches)?;
    parquet::write(&context.output("table"), &whole, &super::made_by::<Concat>())?;
    Ok(())
}

/// The table of a source behind a column per axis. An axis that the source lacks is null.
fn labelled(input: &Input, axes: &[&str]) -> Result<RecordBatch, StageError> {
    let path = input.artifacts.values().next().ok_or_else(|| StageError::new("a source brought no artifact"))?;
    let table = parquet::read(path)?;
    let schema = table.schema();
    if let Some(axis) = axes.iter().find(|axis| schema.field_with_name(axis).is_ok()) {
        return Err(StageError::new(format!(
            "the tables have a column `{axis}`, which is also an axis of the pipeline"
        ))
        .with_help("rename one of them"));
    }
    let label = |axis: &&str| {
        let label = input.labels.iter().find(|(name, _)| name == axis).map(|(_, label)| label.as_str());
        Arc::new(StringArray::from(vec![label; table.num_rows()])) as ArrayRef
    };
    let fields = axes.iter().map(|&axis| Arc::new(Field::new(axis, DataType::Utf8, true)));
    // The writer's own metadata is no difference between tables.
    let schema = Schema::new(fields.chain(schema.fields().iter().cloned()).collect::<Vec<_>>());
    let columns = axes.iter().map(label).chain(table.columns().iter().cloned()).collect();
    Ok(RecordBatch::try_new(Arc::new(schema), columns)?)
}

fn labels(input: &Input) -> String {
    input.labels.iter().map(|(axis, label)| format!("{axis}={label}")).collect::<Vec<_>>().join(",")
}

fn columns(batch: &RecordBatch) -> String {
    let columns = batch.schema_ref().fields().iter().map(|field| format!("{}: {}", field.name(), field.data_type()));
    columns.collect::<Vec<_>>().join(", ")
}
