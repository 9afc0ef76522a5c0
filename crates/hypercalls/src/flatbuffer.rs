//! The text parameters of a call, which comes as a FlatBuffer (Hyperlight's `function_call.fbs`): every offset is
//! checked, and what is garbled is `None`.

/// `Parameter.value_type` of a string.
const STRING: u8 = 7;

/// Places in the tables, as FlatBuffers count them.
const PARAMETERS: usize = 6;
const VALUE_TYPE: usize = 4;
const VALUE: usize = 6;
const STRING_VALUE: usize = 4;

/// Text parameter `index` of a call.
pub fn text(call: &[u8], index: usize) -> Option<&str> {
    let buffer = Buffer(call.get(4..)?); // behind its size
    let root = buffer.u32(0)?;
    let parameters = buffer.follow(root, PARAMETERS)?;
    if index >= buffer.u32(parameters)? {
        return None;
    }
    let slot = parameters + 4 + 4 * index;
    let parameter = slot + buffer.u32(slot)?;
    if *buffer.0.get(buffer.field(parameter, VALUE_TYPE)?)? != STRING {
        return None;
    }
    let holder = buffer.follow(parameter, VALUE)?;
    let text = buffer.follow(holder, STRING_VALUE)?;
    let length = buffer.u32(text)?;
    std::str::from_utf8(buffer.0.get(text + 4..)?.get(..length)?).ok()
}

struct Buffer<'a>(&'a [u8]);

impl Buffer<'_> {
    fn u32(&self, at: usize) -> Option<usize> {
        let bytes = self.0.get(at..)?.first_chunk()?;
        Some(u32::from_le_bytes(*bytes) as usize)
    }

    fn u16(&self, at: usize) -> Option<usize> {
        let bytes = self.0.get(at..)?.first_chunk()?;
        Some(usize::from(u16::from_le_bytes(*bytes)))
    }

    /// Where a field of a table is; `None` if it is absent.
    fn field(&self, table: usize, place: usize) -> Option<usize> {
        let back = i32::from_le_bytes(*self.0.get(table..)?.first_chunk()?);
        let list = usize::try_from(i64::try_from(table).ok()? - i64::from(back)).ok()?;
        if place >= self.u16(list)? {
            return None;
        }
        let offset = self.u16(list + place)?;
        (offset != 0).then_some(table + offset)
    }

    fn follow(&self, table: usize, place: usize) -> Option<usize> {
        let at = self.field(table, place)?;
        Some(at + self.u32(at)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_garbled_call_is_read_beyond_its_end() {
        for length in 0..64 {
            for byte in [0, 1, 4, 8, 0x7f, 0xff] {
                assert_eq!(text(&vec![byte; length], 0), None, "{length} times {byte}");
            }
        }
    }
}
