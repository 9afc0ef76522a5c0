//! What the document says of bodies that are not JSON, or that need not be there.

use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, Schema, SchemaFormat, Type};
use utoipa::openapi::{Components, OpenApi, RefOr, Required};
use utoipa::{PartialSchema, ToSchema};

/// Bytes as they are.
pub struct Bytes;

impl PartialSchema for Bytes {
    fn schema() -> RefOr<Schema> {
        let binary = SchemaFormat::KnownFormat(KnownFormat::Binary);
        ObjectBuilder::new().schema_type(Type::String).format(Some(binary)).build().into()
    }
}

impl ToSchema for Bytes {}

/// A server-sent event.
#[derive(ToSchema)]
#[expect(dead_code, reason = "for the document; the frames are written by hand")]
pub struct Frame {
    /// `message`, or `skipped`.
    event: String,
    /// Number of the event; not there in `skipped`.
    id: Option<String>,
    /// An `Event` as JSON; in `skipped`, how many were missed.
    data: String,
}

/// Says of each body whose keys may all be missing that it may be missing, too.
pub fn with_optional_bodies(mut document: OpenApi) -> OpenApi {
    let Some(components) = &document.components else { return document };
    for item in document.paths.paths.values_mut() {
        for operation in [&mut item.post, &mut item.put].into_iter().flatten() {
            if let Some(body) = &mut operation.request_body
                && body.content.values().all(|content| may_be_empty(content.schema.as_ref(), components))
            {
                body.required = Some(Required::False);
            }
        }
    }
    document
}

/// No bytes are bytes, and no keys are an object.
fn may_be_empty(schema: Option<&RefOr<Schema>>, components: &Components) -> bool {
    match schema {
        Some(RefOr::T(Schema::Object(object))) => object.required.is_empty(),
        Some(RefOr::Ref(reference)) => {
            let name = reference.ref_location.rsplit('/').next().unwrap_or_default();
            components.schemas.get(name).is_some_and(|schema| may_be_empty(Some(schema), components))
        }
        _ => false,
    }
}
