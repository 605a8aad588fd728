//! The programs that render, as the configuration names them, and what is said of them at the start.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;

use crate::config;
use crate::render::{self, Bounds, Found, Tools};
use crate::sandbox::{self, Demand, Level};

/// Returns the programs with an empty folder to work in, and looks at them in the background.
pub fn open(render: &config::Render, scratch: &Path) -> anyhow::Result<Arc<Tools>> {
    // What a killed process left behind is nobody's.
    if scratch.exists() {
        std::fs::remove_dir_all(scratch).with_context(|| format!("failed to empty {}", scratch.display()))?;
    }
    std::fs::create_dir_all(scratch).with_context(|| format!("failed to make {}", scratch.display()))?;
    tell_sandbox(render.sandbox);
    let tools = Tools {
        helm: render.helm.clone(),
        kustomize: render.kustomize.clone(),
        sandbox: Some(std::env::current_exe().context("failed to find the program's own file")?),
        scratch: scratch.to_owned(),
        timeout: render.timeout,
        limits: sandbox::Limits {
            memory_bytes: render.limits.memory,
            cpu_seconds: render.limits.cpu_time.as_secs(),
            ..sandbox::Limits::default()
        },
        demand: render.sandbox,
        bounds: Bounds { output_bytes: render.limits.output, ..Bounds::default() },
    };
    let tools = Arc::new(tools);
    tokio::spawn(tell_programs(tools.clone()));
    Ok(tools)
}

/// Says how far this kernel keeps renderers to what they need.
fn tell_sandbox(demand: Demand) {
    let level = Level::of_this_kernel();
    match demand {
        _ if level.is_full() => tracing::info!(%level, "renderers run in the full sandbox ({level})"),
        Demand::BestEffort => tracing::warn!(
            %level,
            "this kernel restricts renderers in part only ({level}): set render.sandbox to required to have none run"
        ),
        Demand::Required => tracing::error!(
            %level,
            "no chart and no kustomization is rendered on this node: render.sandbox is required, and the kernel restricts renderers in part only ({level})"
        ),
    }
}

/// Says which programs render, and what is wrong with them: a chart that fails for it says so later, and once more.
async fn tell_programs(tools: Arc<Tools>) {
    for program in render::programs(&tools).await {
        match program.found() {
            Found::AsTested => tracing::info!("renderer: {program}"),
            Found::Other(_) => tracing::warn!("renderer: {program}"),
            Found::Broken(_) => tracing::error!("renderer: {program}"),
        }
    }
}
