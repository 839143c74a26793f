//! Writes a graph node by node. A value is known by its name; names come from the place in the model, so the same
//! model gives the same file, byte for byte.

use std::collections::HashSet;

use super::messages::{
    AttributeProto, Dimension, DimensionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto,
    StringStringEntryProto, TensorProto, TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto, attribute_type,
    data_type,
};

/// Version of the standard operators.
pub const OPSET: i64 = 17;
/// Version of the file format that came with that operator set.
const IR_VERSION: i64 = 8;
/// Operators of ONNX Runtime's own.
pub const MICROSOFT_DOMAIN: &str = "com.microsoft";

/// The name of a value in a graph.
pub(crate) type Value = String;

/// Numbers that can lie in a tensor.
pub(crate) trait Element: Copy {
    /// One of [`data_type`].
    const TYPE: i32;
    /// Appends the little-endian bytes.
    fn write(self, out: &mut Vec<u8>);
}

macro_rules! element {
    ($rust:ty, $onnx:expr) => {
        impl Element for $rust {
            const TYPE: i32 = $onnx;
            fn write(self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }
        }
    };
}
element!(f32, data_type::FLOAT);
element!(half::f16, data_type::FLOAT16);
element!(u8, data_type::UINT8);
element!(i8, data_type::INT8);
element!(i64, data_type::INT64);

/// A graph in the making.
#[derive(Default)]
pub(crate) struct GraphBuilder {
    graph: GraphProto,
    constants: HashSet<String>,
    uses_microsoft: bool,
}

/// A node in the making: optional settings first, [`done`](Self::done) last.
pub(crate) struct NodeBuilder<'a> {
    builder: &'a mut GraphBuilder,
    node: NodeProto,
}

impl GraphBuilder {
    /// Starts a node of a standard operator. Its name is also the name of its first output.
    pub(crate) fn node(&mut self, op: &str, name: &str, inputs: &[&str]) -> NodeBuilder<'_> {
        NodeBuilder {
            node: NodeProto {
                input: inputs.iter().map(|input| (*input).to_owned()).collect(),
                name: Some(name.to_owned()),
                op_type: Some(op.to_owned()),
                ..NodeProto::default()
            },
            builder: self,
        }
    }

    /// Starts a node of one of ONNX Runtime's own operators.
    pub(crate) fn microsoft(&mut self, op: &str, name: &str, inputs: &[&str]) -> NodeBuilder<'_> {
        self.uses_microsoft = true;
        let mut node = self.node(op, name, inputs);
        node.node.domain = Some(MICROSOFT_DOMAIN.to_owned());
        node
    }

    /// A node without settings and with one output.
    pub(crate) fn op(&mut self, op: &str, name: &str, inputs: &[&str]) -> Value {
        self.node(op, name, inputs).done()
    }

    /// A constant. One that was added before under the same name is used again.
    pub(crate) fn constant<T: Element>(&mut self, name: &str, dims: &[usize], values: &[T]) -> Value {
        debug_assert_eq!(dims.iter().product::<usize>(), values.len(), "{name}");
        if self.constants.insert(name.to_owned()) {
            let mut raw = Vec::with_capacity(size_of_val(values));
            values.iter().for_each(|value| value.write(&mut raw));
            self.graph.initializer.push(TensorProto {
                dims: dims.iter().map(|size| *size as i64).collect(),
                data_type: Some(T::TYPE),
                name: Some(name.to_owned()),
                raw_data: Some(raw),
            });
        }
        name.to_owned()
    }

    /// A single number.
    pub(crate) fn scalar<T: Element>(&mut self, name: &str, value: T) -> Value {
        self.constant(name, &[], &[value])
    }

    /// A list of whole numbers: axes, shapes.
    pub(crate) fn list(&mut self, name: &str, values: &[i64]) -> Value {
        self.constant(name, &[values.len()], values)
    }

    /// Converts a value to another element type.
    pub(crate) fn cast(&mut self, name: &str, input: &str, to: i32) -> Value {
        self.node("Cast", name, &[input]).int("to", i64::from(to)).done()
    }

    /// Declares an input.
    pub(crate) fn input(&mut self, name: &str, element: i32, dims: &[Dimension]) {
        self.graph.input.push(value_info(name, element, dims));
    }

    /// Declares a value as an output.
    pub(crate) fn output(&mut self, name: &str, element: i32, dims: &[Dimension]) {
        self.graph.output.push(value_info(name, element, dims));
    }

    /// Bytes of the constants so far.
    pub(crate) fn constant_bytes(&self) -> usize {
        self.graph.initializer.iter().map(|tensor| tensor.raw_data.as_ref().map_or(0, Vec::len)).sum()
    }

    /// The finished model.
    pub(crate) fn finish(mut self, name: &str, notes: &[(&str, String)]) -> ModelProto {
        self.graph.name = Some(name.to_owned());
        let mut opset_import = vec![OperatorSetIdProto { domain: Some(String::new()), version: Some(OPSET) }];
        if self.uses_microsoft {
            opset_import.push(OperatorSetIdProto { domain: Some(MICROSOFT_DOMAIN.to_owned()), version: Some(1) });
        }
        ModelProto {
            ir_version: Some(IR_VERSION),
            producer_name: Some(env!("CARGO_PKG_NAME").to_owned()),
            producer_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
            doc_string: None,
            graph: Some(self.graph),
            opset_import,
            metadata_props: notes
                .iter()
                .map(|(key, value)| StringStringEntryProto { key: Some((*key).to_owned()), value: Some(value.clone()) })
                .collect(),
        }
    }
}

impl NodeBuilder<'_> {
    fn attribute(mut self, name: &str, r#type: i32, fill: impl FnOnce(&mut AttributeProto)) -> Self {
        let mut attribute =
            AttributeProto { name: Some(name.to_owned()), r#type: Some(r#type), ..AttributeProto::default() };
        fill(&mut attribute);
        self.node.attribute.push(attribute);
        self
    }

    /// Sets a whole number.
    pub(crate) fn int(self, name: &str, value: i64) -> Self {
        self.attribute(name, attribute_type::INT, |attribute| attribute.i = Some(value))
    }

    /// Sets a list of whole numbers.
    pub(crate) fn ints(self, name: &str, values: &[i64]) -> Self {
        self.attribute(name, attribute_type::INTS, |attribute| attribute.ints = values.to_vec())
    }

    /// Sets a number.
    pub(crate) fn float(self, name: &str, value: f32) -> Self {
        self.attribute(name, attribute_type::FLOAT, |attribute| attribute.f = Some(value))
    }

    /// Adds the node, whose one output has the node's name.
    pub(crate) fn done(self) -> Value {
        let name = self.node.name.clone().unwrap_or_default();
        self.outputs(std::slice::from_ref(&name));
        name
    }

    /// Adds the node with outputs of the given names.
    pub(crate) fn outputs(mut self, names: &[Value]) {
        self.node.output = names.to_vec();
        self.builder.graph.node.push(self.node);
    }
}

fn value_info(name: &str, element: i32, dims: &[Dimension]) -> ValueInfoProto {
    ValueInfoProto {
        name: Some(name.to_owned()),
        r#type: Some(TypeProto {
            tensor_type: Some(TensorTypeProto {
                elem_type: Some(element),
                shape: Some(TensorShapeProto {
                    dim: dims.iter().map(|dimension| DimensionProto { value: Some(dimension.clone()) }).collect(),
                }),
            }),
        }),
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;

    #[test]
    fn a_small_graph_has_the_bytes_of_the_format() {
        let mut builder = GraphBuilder::default();
        builder.input("x", data_type::FLOAT, &[Dimension::Named("n".to_owned())]);
        let two = builder.scalar("two", 2.0f32);
        builder.op("Mul", "y", &["x", &two]);
        builder.output("y", data_type::FLOAT, &[Dimension::Fixed(3)]);
        let graph = builder.finish("g", &[]).graph.unwrap();
        // Tag numbers and wire types, written out by hand from the format's definition.
        let expected = [
            &[0x0a, 0x13][..],                           // node
            &[0x0a, 1, b'x', 0x0a, 3, b't', b'w', b'o'], //   inputs
            &[0x12, 1, b'y', 0x1a, 1, b'y'],             //   output, name
            &[0x22, 3, b'M', b'u', b'l'],                //   operator
            &[0x12, 1, b'g'],                            // graph name
            &[0x2a, 13, 0x10, 1],                        // initializer: float
            &[0x42, 3, b't', b'w', b'o'],                //   name
            &[0x4a, 4, 0, 0, 0, 0x40],                   //   raw data
            &[0x5a, 16, 0x0a, 1, b'x', 0x12, 11, 0x0a, 9, 0x08, 1, 0x12, 5, 0x0a, 3, 0x12, 1, b'n'],
            &[0x62, 15, 0x0a, 1, b'y', 0x12, 10, 0x0a, 8, 0x08, 1, 0x12, 4, 0x0a, 2, 0x08, 3],
        ]
        .concat();
        assert_eq!(graph.encode_to_vec(), expected);
    }

    #[test]
    fn a_constant_is_stored_once() {
        let mut builder = GraphBuilder::default();
        builder.list("axes", &[1, 2]);
        builder.list("axes", &[1, 2]);
        assert_eq!(builder.constant_bytes(), 16);
    }
}
