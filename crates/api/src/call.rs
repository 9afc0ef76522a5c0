//! Calls of functions of Wasm modules.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::object::objects;
use crate::{Origin, Phases, SandboxRequest, Usage};

objects!(FunctionCall, CallRequest);

/// A function to be called in an instance of its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, remote = "Self")]
pub struct FunctionCall {
    /// Its name, as the module exports it.
    pub function: String,
    /// Its arguments, in order. Integers may be written with or without a sign; what JSON has no number for is `"NaN"`,
    /// `"Infinity"` or `"-Infinity"`.
    #[serde(default)]
    pub arguments: Vec<Value>,
    /// Give it up after this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
}

/// A call in a sandbox of its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, remote = "Self")]
pub struct CallRequest {
    /// The sandbox, which needs a module.
    pub sandbox: SandboxRequest,
    /// The call.
    pub call: FunctionCall,
}

/// What a function returned.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CallResult {
    /// Its results, in order; most functions have one or none.
    pub values: Vec<Value>,
    /// What it used.
    pub usage: Usage,
    /// The sandbox in which it was called.
    pub sandbox: String,
    /// Where that came from, if it was made for this call.
    pub origin: Option<Origin>,
    /// Where the time went.
    pub phases: Phases,
}
