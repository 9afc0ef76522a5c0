//! What Wasm modules need of the environment.

use std::path::PathBuf;

use agentkernel_runtime::Registry;

use super::Environment;

impl Environment {
    /// The backends that run Wasm modules, for whoever runs one and nothing else.
    pub fn registry_for_modules(&self) -> Registry {
        Registry::for_modules(self.wasm_cache(), self.helpers())
    }

    /// Where compiled Wasm modules are kept.
    pub fn wasm_cache(&self) -> Option<PathBuf> {
        let of_user = || {
            let cache = self.xdg_cache_home.clone().or_else(|| Some(self.home.as_ref()?.join(".cache")))?;
            Some(cache.join("agentkernel"))
        };
        let home = self.agentkernel_home.as_ref().map(|home| home.join("cache"));
        Some(home.or_else(of_user)?.join("wasm"))
    }
}
