//! Puts interpreters where they are kept.

use std::path::Path;

use agentkernel_core::Result;

use crate::language::Language;
use crate::store::{Interpreter, Store};
use crate::tools::failed;
use crate::workshop::Workshop;
use crate::{javascript, python};

pub use crate::tools::Tools;

/// What is there now.
#[derive(Debug)]
pub struct Installed {
    /// What it is.
    pub interpreter: Interpreter,
    /// Whether it was there before, so that nothing was done.
    pub was_there: bool,
}

/// Makes the interpreter of a language, unless it is there already. `say` is told what is being done.
pub fn install(
    home: &Path,
    language: Language,
    tools: &Tools<'_>,
    say: &mut dyn FnMut(&str),
) -> Result<Installed> {
    let store = Store::below(home);
    if let Some(interpreter) = store.find(language) {
        return Ok(Installed { interpreter, was_there: true });
    }
    let workshop = Workshop::open(home)?;
    let (interpreter, wasm) = match language {
        Language::Js => javascript::make(workshop.path(), tools, say)?,
        Language::Python => python::get(workshop.path(), tools, say)?,
    };
    store.keep(language, &interpreter, &wasm).map_err(|why| failed(why).on(home.display()))?;
    Ok(Installed { interpreter, was_there: false })
}
