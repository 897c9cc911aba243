//! The stack machine of Python's pickles, protocols 0 to 5, for plain values only: dict, list, tuple, int, float, str,
//! bool and None. It can execute nothing: opcodes that would import, call or build objects are refused by name and
//! place. Nothing recurses, no stated length is believed, and what is held is at most a constant times the input.
//! Opcodes and their arguments: CPython, `Lib/pickletools.py`.

use std::collections::HashMap;

/// A value; containers and texts lie in the [`Heap`], so that a pickle may refer to one of them often.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    /// A string, or an integer beyond 64 bits in decimal digits.
    Text(usize),
    /// A list or a tuple.
    List(usize),
    Dict(usize),
}

impl Value {
    pub fn kind(self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Bool(_) => "a bool",
            Self::Int(_) => "an int",
            Self::Float(_) => "a float",
            Self::Text(_) => "a str",
            Self::List(_) => "a list",
            Self::Dict(_) => "a dict",
        }
    }
}

/// Where the values of a pickle lie.
#[derive(Debug, Default)]
pub struct Heap {
    pub texts: Vec<Box<str>>,
    pub lists: Vec<Vec<Value>>,
    pub dicts: Vec<Vec<(Value, Value)>>,
}

/// Why a pickle is not read, and where.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("byte {at}: {reason}")]
pub struct Refused {
    at: usize,
    reason: String,
}

/// The value of a pickle.
pub fn load(bytes: &[u8]) -> Result<(Value, Heap), Refused> {
    let mut machine = Machine { bytes, ..Machine::default() };
    loop {
        let at = machine.at;
        match machine.step() {
            Ok(None) => {}
            Ok(Some(value)) => return Ok((value, machine.heap)),
            Err(reason) => return Err(Refused { at, reason }),
        }
    }
}

/// Opcodes that make other things than plain values.
const REFUSED: [(u8, &str); 19] = [
    (b'R', "REDUCE"),
    (b'b', "BUILD"),
    (b'i', "INST"),
    (b'o', "OBJ"),
    (0x81, "NEWOBJ"),
    (0x92, "NEWOBJ_EX"),
    (0x82, "EXT1"),
    (0x83, "EXT2"),
    (0x84, "EXT4"),
    (b'P', "PERSID"),
    (b'Q', "BINPERSID"),
    (b'B', "BINBYTES"),
    (b'C', "SHORT_BINBYTES"),
    (0x8e, "BINBYTES8"),
    (0x96, "BYTEARRAY8"),
    (0x8f, "EMPTY_SET"),
    (0x91, "FROZENSET"),
    (0x97, "NEXT_BUFFER"),
    (0x98, "READONLY_BUFFER"),
];

const PLAIN: &str = "only dict, list, tuple, int, float, str, bool and None are read, and nothing is executed";

/// The newest protocol.
const PROTOCOL: u8 = 5;

#[derive(Default)]
struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    stack: Vec<Value>,
    /// Heights of the stack at the open marks.
    marks: Vec<usize>,
    memo: HashMap<u64, Value>,
    heap: Heap,
}

impl<'a> Machine<'a> {
    /// One opcode; the value of the pickle at its end.
    fn step(&mut self) -> Result<Option<Value>, String> {
        let [opcode] = self.array()?;
        match opcode {
            b'.' => return self.pop().map(Some),
            0x80 => match self.array()? {
                [newer] if newer > PROTOCOL => return Err(format!("protocol {newer}; 0 to {PROTOCOL} are read")),
                _ => {}
            },
            0x95 => drop(self.array::<8>()?),
            b'(' => self.marks.push(self.stack.len()),
            b'0' => drop(self.pop()?),
            b'1' => drop(self.marked()?),
            b'2' => self.stack.push(self.top()?),

            b'N' => self.stack.push(Value::None),
            0x88 => self.stack.push(Value::Bool(true)),
            0x89 => self.stack.push(Value::Bool(false)),
            b'K' => self.small(|[byte]: [u8; 1]| i64::from(byte))?,
            b'M' => self.small(|bytes| i64::from(u16::from_le_bytes(bytes)))?,
            b'J' => self.small(|bytes| i64::from(i32::from_le_bytes(bytes)))?,
            b'I' => match self.line()? {
                "00" => self.stack.push(Value::Bool(false)),
                "01" => self.stack.push(Value::Bool(true)),
                digits => self.decimal(digits)?,
            },
            b'L' => {
                let digits = self.line()?;
                self.decimal(digits.strip_suffix('L').unwrap_or(digits))?;
            }
            0x8a => self.long::<1>()?,
            0x8b => self.long::<4>()?,
            b'G' => {
                let number = f64::from_be_bytes(self.array()?);
                self.stack.push(Value::Float(number));
            }
            b'F' => {
                let number = self.line()?.parse().map_err(|_| "a FLOAT that is no number".to_owned())?;
                self.stack.push(Value::Float(number));
            }

            b'X' | b'T' => self.text::<4>()?,
            0x8c | b'U' => self.text::<1>()?,
            0x8d => self.text::<8>()?,
            b'V' => {
                let line = self.raw_line()?;
                self.push_text(unescape(line)?);
            }
            b'S' => {
                let line = self.line()?;
                self.push_text(unquote(line)?.to_owned());
            }

            b']' | b')' => self.push_list(Vec::new()),
            b'l' | b't' => {
                let items = self.marked()?;
                self.push_list(items);
            }
            0x85..=0x87 => {
                let items = self.last(usize::from(opcode - 0x84))?;
                self.push_list(items);
            }
            b'a' => {
                let items = self.last(1)?;
                self.append(items)?;
            }
            b'e' => {
                let items = self.marked()?;
                self.append(items)?;
            }
            b'}' => self.push_dict(Vec::new()),
            b'd' => {
                let entries = pairs(&self.marked()?)?;
                self.push_dict(entries);
            }
            b's' => {
                let entries = pairs(&self.last(2)?)?;
                self.insert(entries)?;
            }
            b'u' => {
                let entries = pairs(&self.marked()?)?;
                self.insert(entries)?;
            }

            b'p' => self.put_line()?,
            b'q' => self.put(|[byte]: [u8; 1]| byte.into())?,
            b'r' => self.put(|bytes| u32::from_le_bytes(bytes).into())?,
            0x94 => self.remember(self.memo.len() as u64)?,
            b'g' => {
                let index = self.index_line()?;
                self.recall(index)?;
            }
            b'h' => {
                let [index] = self.array()?;
                self.recall(index.into())?;
            }
            b'j' => {
                let index = u32::from_le_bytes(self.array()?);
                self.recall(index.into())?;
            }

            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                return Err(foreign("GLOBAL", module, name));
            }
            0x93 => {
                let names = self.last(2)?.into_iter().map(|value| match value {
                    Value::Text(text) => self.heap.texts[text].to_string(),
                    other => other.kind().to_owned(),
                });
                let names: Vec<String> = names.collect();
                return Err(foreign("STACK_GLOBAL", &names[0], &names[1]));
            }
            other => {
                let name = REFUSED.iter().find(|(opcode, _)| *opcode == other);
                return Err(match name {
                    Some((_, name)) => format!("opcode {name}: {PLAIN}"),
                    None => format!("no opcode is {other:#04x}: the file is damaged or no pickle"),
                });
            }
        }
        Ok(None)
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], String> {
        let rest = &self.bytes[self.at..];
        let taken = usize::try_from(length).ok().and_then(|length| rest.get(..length));
        let taken = taken.ok_or_else(|| format!("{length} bytes are stated and {} are left: truncated", rest.len()))?;
        self.at += taken.len();
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let taken = self.take(N as u64)?.first_chunk().copied();
        taken.ok_or_else(|| "truncated".to_owned())
    }

    /// A length of `N` bytes, smallest first.
    fn length<const N: usize>(&mut self) -> Result<u64, String> {
        let mut bytes = [0; 8];
        bytes[..N].copy_from_slice(&self.array::<N>()?);
        Ok(u64::from_le_bytes(bytes))
    }

    fn raw_line(&mut self) -> Result<&'a [u8], String> {
        let end = memchr::memchr(b'\n', &self.bytes[self.at..]).ok_or("a line without end: truncated")?;
        let line = self.take(end as u64 + 1)?;
        Ok(&line[..end])
    }

    fn line(&mut self) -> Result<&'a str, String> {
        str::from_utf8(self.raw_line()?).map_err(|_| "a line that is not text".to_owned())
    }

    fn small<const N: usize>(&mut self, of: impl Fn([u8; N]) -> i64) -> Result<(), String> {
        let number = of(self.array()?);
        self.stack.push(Value::Int(number));
        Ok(())
    }

    /// An integer of a stated number of bytes, in two's complement, smallest first.
    fn long<const N: usize>(&mut self) -> Result<(), String> {
        let length = self.length::<N>()?;
        let bytes = self.take(length)?;
        if bytes.len() > size_of::<i128>() {
            return Err(format!("an int of {length} bytes; at most {} are read", size_of::<i128>()));
        }
        let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
        let mut wide = [if negative { 0xff } else { 0 }; size_of::<i128>()];
        wide[..bytes.len()].copy_from_slice(bytes);
        self.push_int(i128::from_le_bytes(wide));
        Ok(())
    }

    fn decimal(&mut self, digits: &str) -> Result<(), String> {
        self.push_int(digits.parse().map_err(|_| "an int that is no number of at most 16 bytes".to_owned())?);
        Ok(())
    }

    fn push_int(&mut self, number: i128) {
        match i64::try_from(number) {
            Ok(number) => self.stack.push(Value::Int(number)),
            Err(_) => self.push_text(number.to_string()),
        }
    }

    fn text<const N: usize>(&mut self) -> Result<(), String> {
        let length = self.length::<N>()?;
        let text = str::from_utf8(self.take(length)?).map_err(|_| "a str that is not UTF-8 text".to_owned())?;
        self.push_text(text.to_owned());
        Ok(())
    }

    fn push_text(&mut self, text: String) {
        self.stack.push(Value::Text(self.heap.texts.len()));
        self.heap.texts.push(text.into_boxed_str());
    }

    fn push_list(&mut self, items: Vec<Value>) {
        self.stack.push(Value::List(self.heap.lists.len()));
        self.heap.lists.push(items);
    }

    fn push_dict(&mut self, entries: Vec<(Value, Value)>) {
        self.stack.push(Value::Dict(self.heap.dicts.len()));
        self.heap.dicts.push(entries);
    }

    fn append(&mut self, items: Vec<Value>) -> Result<(), String> {
        match self.top()? {
            Value::List(list) => self.heap.lists[list].extend(items),
            other => return Err(format!("an append to {}", other.kind())),
        }
        Ok(())
    }

    fn insert(&mut self, entries: Vec<(Value, Value)>) -> Result<(), String> {
        match self.top()? {
            Value::Dict(dict) => self.heap.dicts[dict].extend(entries),
            other => return Err(format!("an entry for {}", other.kind())),
        }
        Ok(())
    }

    /// The height below which the stack belongs to an open mark.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn last(&mut self, count: usize) -> Result<Vec<Value>, String> {
        let start = self.stack.len().checked_sub(count).filter(|&start| start >= self.floor());
        Ok(self.stack.split_off(start.ok_or("the stack is empty: the file is damaged")?))
    }

    fn pop(&mut self) -> Result<Value, String> {
        let value = self.top()?;
        self.stack.pop();
        Ok(value)
    }

    fn top(&self) -> Result<Value, String> {
        let value = self.stack[self.floor()..].last();
        value.copied().ok_or_else(|| "the stack is empty: the file is damaged".to_owned())
    }

    /// What lies above the last mark; the mark is gone.
    fn marked(&mut self) -> Result<Vec<Value>, String> {
        let start = self.marks.pop().ok_or("no mark is open: the file is damaged")?;
        Ok(self.stack.split_off(start))
    }

    fn put<const N: usize>(&mut self, index: impl Fn([u8; N]) -> u64) -> Result<(), String> {
        let index = index(self.array()?);
        self.remember(index)
    }

    fn put_line(&mut self) -> Result<(), String> {
        let index = self.index_line()?;
        self.remember(index)
    }

    fn index_line(&mut self) -> Result<u64, String> {
        self.line()?.parse().map_err(|_| "a memo index that is no number".to_owned())
    }

    fn remember(&mut self, index: u64) -> Result<(), String> {
        self.memo.insert(index, self.top()?);
        Ok(())
    }

    fn recall(&mut self, index: u64) -> Result<(), String> {
        let value = self.memo.get(&index).ok_or_else(|| format!("nothing was remembered as {index}"))?;
        self.stack.push(*value);
        Ok(())
    }
}

fn pairs(values: &[Value]) -> Result<Vec<(Value, Value)>, String> {
    let (pairs, []) = values.as_chunks::<2>() else { return Err("a key without a value".to_owned()) };
    Ok(pairs.iter().map(|&[key, value]| (key, value)).collect())
}

/// The message for an imported name.
fn foreign(opcode: &str, module: &str, name: &str) -> String {
    let name = super::cut(&format!("{module}.{name}"));
    let advice = match name.starts_with("numpy") {
        true => "; turn numpy values into plain ones by `.tolist()` or `int(...)` and save the pickle again",
        false => "",
    };
    format!("opcode {opcode} (`{name}`): {PLAIN}{advice}")
}

/// Protocol 0's str: Latin-1 with escapes `\uXXXX` and `\UXXXXXXXX`.
fn unescape(line: &[u8]) -> Result<String, String> {
    let mut text = String::new();
    let mut rest = line;
    while let Some((&byte, after)) = rest.split_first() {
        let digits = match (byte, after.first()) {
            (b'\\', Some(b'u')) => 4,
            (b'\\', Some(b'U')) => 8,
            _ => {
                text.push(char::from(byte));
                rest = after;
                continue;
            }
        };
        let code = after.get(1..1 + digits).and_then(|digits| str::from_utf8(digits).ok());
        let code = code.and_then(|digits| u32::from_str_radix(digits, 16).ok()).and_then(char::from_u32);
        text.push(code.ok_or("an escape in a str that is no character")?);
        rest = &after[1 + digits..];
    }
    Ok(text)
}

/// Python 2's str: quoted. Escapes are not undone: ids have none.
fn unquote(line: &str) -> Result<&str, String> {
    let quoted = ['\'', '"'].into_iter().find_map(|quote| line.strip_prefix(quote)?.strip_suffix(quote));
    quoted.filter(|text| !text.contains('\\')).ok_or_else(|| "a STRING with escapes or without quotes".to_owned())
}
