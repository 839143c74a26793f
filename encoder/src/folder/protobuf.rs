//! Just enough of the protobuf wire format to look into an ONNX file before ONNX Runtime does: where it keeps weights
//! outside the file, and where its large weights lie inside.
//!
//! Field numbers are those of `onnx.proto`. Fields that do not matter here are skipped unread.

use std::ops::Range;

/// One field of a message.
pub(crate) struct Field {
    pub(crate) number: u64,
    pub(crate) value: Payload,
}

pub(crate) enum Payload {
    /// An integer of any width.
    Number(u64),
    /// Bytes, as their place in the file: a string, a packed list or another message.
    Bytes(Range<usize>),
}

/// Walks through the fields of the message in `range`. An item is `Err` where the bytes are no protobuf message;
/// nothing follows it.
pub(crate) struct Fields<'a> {
    file: &'a [u8],
    at: usize,
    end: usize,
}

/// The bytes are not a protobuf message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed;

impl<'a> Fields<'a> {
    pub(crate) fn new(file: &'a [u8], range: Range<usize>) -> Self {
        let end = range.end.min(file.len());
        Self { file, at: range.start.min(end), end }
    }

    fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = *self.file[..self.end].get(self.at).ok_or(Malformed)?;
            self.at += 1;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Malformed)
    }

    fn skip(&mut self, count: usize) -> Result<Range<usize>, Malformed> {
        let end = self.at.checked_add(count).filter(|end| *end <= self.end).ok_or(Malformed)?;
        let range = self.at..end;
        self.at = end;
        Ok(range)
    }

    fn field(&mut self) -> Result<Field, Malformed> {
        let key = self.varint()?;
        let number = key >> 3;
        if number == 0 {
            return Err(Malformed);
        }
        let value = match key & 7 {
            0 => Payload::Number(self.varint()?),
            1 => Payload::Bytes(self.skip(8)?),
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| Malformed)?;
                Payload::Bytes(self.skip(length)?)
            }
            5 => Payload::Bytes(self.skip(4)?),
            // Groups have been gone from protobuf for longer than ONNX exists.
            _ => return Err(Malformed),
        };
        Ok(Field { number, value })
    }
}

impl Iterator for Fields<'_> {
    type Item = Result<Field, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.at >= self.end {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.at = self.end;
        }
        Some(field)
    }
}

/// A weight of the main graph whose values lie in the file as raw bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Weight {
    pub(crate) name: String,
    pub(crate) dims: Vec<u64>,
    pub(crate) data_type: u64,
    pub(crate) bytes: Range<usize>,
}

/// What a look into an ONNX file found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Outline {
    /// True once a graph was seen; a file without one is no model.
    pub(crate) has_graph: bool,
    /// Names of files that hold weights, as written in the model, each once.
    pub(crate) external: Vec<String>,
    /// Weights of the main graph.
    pub(crate) weights: Vec<Weight>,
}

/// Graphs may hold graphs (loops, branches); one this deep is no model.
const DEPTH_LIMIT: usize = 24;

/// Looks through a whole ONNX file.
pub(crate) fn outline(file: &[u8]) -> Result<Outline, Malformed> {
    let mut outline = Outline::default();
    for field in Fields::new(file, 0..file.len()) {
        let field = field?;
        let Payload::Bytes(range) = field.value else { continue };
        match field.number {
            7 => {
                outline.has_graph = true;
                graph(file, range, 0, true, &mut outline)?;
            }
            // training_info: initialization and algorithm are graphs.
            20 => {
                for inner in Fields::new(file, range) {
                    if let Field { number: 1 | 2, value: Payload::Bytes(range) } = inner? {
                        graph(file, range, 1, false, &mut outline)?;
                    }
                }
            }
            // functions: nodes, and defaults for attributes.
            25 => {
                for inner in Fields::new(file, range) {
                    match inner? {
                        Field { number: 7, value: Payload::Bytes(range) } => node(file, range, 1, &mut outline)?,
                        Field { number: 11, value: Payload::Bytes(range) } => attribute(file, range, 1, &mut outline)?,
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    Ok(outline)
}

fn graph(file: &[u8], range: Range<usize>, depth: usize, main: bool, outline: &mut Outline) -> Result<(), Malformed> {
    if depth > DEPTH_LIMIT {
        return Err(Malformed);
    }
    for field in Fields::new(file, range) {
        let field = field?;
        let Payload::Bytes(range) = field.value else { continue };
        match field.number {
            1 => node(file, range, depth, outline)?,
            5 => tensor(file, range, main, outline)?,
            15 => sparse(file, range, outline)?,
            _ => {}
        }
    }
    Ok(())
}

fn node(file: &[u8], range: Range<usize>, depth: usize, outline: &mut Outline) -> Result<(), Malformed> {
    for field in Fields::new(file, range) {
        if let Field { number: 5, value: Payload::Bytes(range) } = field? {
            attribute(file, range, depth, outline)?;
        }
    }
    Ok(())
}

fn attribute(file: &[u8], range: Range<usize>, depth: usize, outline: &mut Outline) -> Result<(), Malformed> {
    for field in Fields::new(file, range) {
        let field = field?;
        let Payload::Bytes(range) = field.value else { continue };
        match field.number {
            5 | 10 => tensor(file, range, false, outline)?,
            6 | 11 => graph(file, range, depth + 1, false, outline)?,
            22 | 23 => sparse(file, range, outline)?,
            _ => {}
        }
    }
    Ok(())
}

fn sparse(file: &[u8], range: Range<usize>, outline: &mut Outline) -> Result<(), Malformed> {
    for field in Fields::new(file, range) {
        if let Field { number: 1 | 2, value: Payload::Bytes(range) } = field? {
            tensor(file, range, false, outline)?;
        }
    }
    Ok(())
}

fn tensor(file: &[u8], range: Range<usize>, main: bool, outline: &mut Outline) -> Result<(), Malformed> {
    let (mut name, mut raw, mut data_type) = (None, None, 0);
    let mut dims = Vec::new();
    let mut is_external = false;
    let mut locations = Vec::new();
    for field in Fields::new(file, range) {
        let field = field?;
        match (field.number, field.value) {
            (1, Payload::Number(size)) => dims.push(size),
            // Packed form of the same field.
            (1, Payload::Bytes(range)) => {
                let mut list = Fields::new(file, range);
                while list.at < list.end {
                    dims.push(list.varint()?);
                }
            }
            (2, Payload::Number(number)) => data_type = number,
            (8, Payload::Bytes(range)) => name = Some(text(file, range)),
            (9, Payload::Bytes(range)) => raw = Some(range),
            (13, Payload::Bytes(range)) => {
                is_external = true;
                let (key, value) = pair(file, range)?;
                if key == "location" {
                    locations.push(value);
                }
            }
            (14, Payload::Number(place)) => is_external |= place != 0,
            _ => {}
        }
    }
    if is_external {
        // Without a location the weights would be nowhere; an empty name is refused by the check that follows.
        if locations.is_empty() {
            locations.push(String::new());
        }
        for location in locations {
            if !outline.external.contains(&location) {
                outline.external.push(location);
            }
        }
    } else if main && let (Some(name), Some(bytes)) = (name, raw) {
        outline.weights.push(Weight { name, dims, data_type, bytes });
    }
    Ok(())
}

fn pair(file: &[u8], range: Range<usize>) -> Result<(String, String), Malformed> {
    let (mut key, mut value) = (String::new(), String::new());
    for field in Fields::new(file, range) {
        match field? {
            Field { number: 1, value: Payload::Bytes(range) } => key = text(file, range),
            Field { number: 2, value: Payload::Bytes(range) } => value = text(file, range),
            _ => {}
        }
    }
    Ok((key, value))
}

fn text(file: &[u8], range: Range<usize>) -> String {
    String::from_utf8_lossy(file.get(range).unwrap_or_default()).into_owned()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Writes one length-delimited field.
    pub(crate) fn message(number: u8, body: &[u8]) -> Vec<u8> {
        let mut out = vec![number << 3 | 2];
        let mut length = body.len();
        loop {
            let byte = (length & 0x7f) as u8;
            length >>= 7;
            if length == 0 {
                out.push(byte);
                break;
            }
            out.push(byte | 0x80);
        }
        out.extend_from_slice(body);
        out
    }

    /// A model whose only weight lies in another file, called `location`.
    pub(crate) fn model_with_external(location: &str) -> Vec<u8> {
        let entry = [message(1, b"location"), message(2, location.as_bytes())].concat();
        let tensor = [vec![1 << 3, 4, 2 << 3, 1], message(8, b"w"), message(13, &entry), vec![14 << 3, 1]].concat();
        message(7, &message(5, &tensor))
    }

    #[test]
    fn finds_external_weights_and_inner_ones() {
        let outline_of = |bytes: &[u8]| outline(bytes).unwrap();
        assert_eq!(outline_of(&model_with_external("w.bin")).external, ["w.bin"]);

        let inner = [vec![1 << 3, 2, 2 << 3, 1], message(8, b"w"), message(9, &[0; 8])].concat();
        let file = message(7, &message(5, &inner));
        let found = outline_of(&file);
        assert!(found.has_graph && found.external.is_empty());
        assert_eq!(found.weights[0].name, "w");
        assert_eq!(found.weights[0].dims, [2]);
        assert_eq!(found.weights[0].bytes.len(), 8);
    }

    #[test]
    fn finds_external_weights_in_subgraphs() {
        let model = model_with_external("deep.bin");
        let graph = &model[2..];
        // graph -> node -> attribute -> graph
        let nested = message(7, &message(1, &message(5, &message(6, graph))));
        assert_eq!(outline(&nested).unwrap().external, ["deep.bin"]);
    }

    #[test]
    fn endless_nesting_is_refused() {
        let mut graph = Vec::new();
        for _ in 0..200 {
            graph = message(1, &message(5, &message(6, &graph)));
        }
        assert_eq!(outline(&message(7, &graph)), Err(Malformed));
    }

    #[test]
    fn text_is_no_model() {
        assert!(outline(b"this is only a text\n").map_or(true, |found| !found.has_graph));
        assert!(!outline(b"").unwrap().has_graph);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_end_without_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let _ = outline(&bytes);
        }

        #[test]
        fn a_cut_model_ends_without_panic(cut in 0usize..40, flip in 0usize..40, to in proptest::num::u8::ANY) {
            let mut bytes = model_with_external("some-file.bin");
            let at = flip % bytes.len();
            bytes[at] = to;
            bytes.truncate(cut.min(bytes.len()));
            let _ = outline(&bytes);
        }
    }
}
