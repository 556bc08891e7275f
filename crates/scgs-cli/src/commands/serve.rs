//! `scgs serve`: lends a device to other processes.

use std::process::ExitCode;

use crate::args_runs::ServeArgs;

/// Serves until Ctrl-C.
#[cfg(feature = "remote")]
pub(crate) fn run(args: &ServeArgs) -> anyhow::Result<ExitCode> {
    use anyhow::Context as _;
    use burn::server::{RemoteServer, TokenAuthorizer, WebSocketTransport};

    use super::{print, print_json};
    use crate::device::{self, TOKEN};

    let token = device::token()?.with_context(|| {
        format!("{TOKEN} is not set: give it a secret of your choice, and the same one to who uses the device")
    })?;
    let device = device::open(&args.device.device)?;
    let listener = std::net::TcpListener::bind(args.listen)
        .with_context(|| format!("--listen {}: cannot listen there; choose another port", args.listen))?;
    let address = listener.local_addr()?;
    if args.common.json {
        print_json(&serde_json::json!({ "schema": 1, "device": args.device.device, "listen": address.to_string() }))?;
    } else {
        print(&format!("serving {} on {address}: --device remote:ws://{address}", args.device.device))?;
    }
    RemoteServer::new([device])
        .with_authorizer(TokenAuthorizer::new(token)?)
        .serve(WebSocketTransport::from_listener(listener))
        .map_err(|error| anyhow::anyhow!("serving on {address} ended: {error}"))?;
    Ok(ExitCode::SUCCESS)
}

/// This build cannot.
#[cfg(not(feature = "remote"))]
pub(crate) fn run(args: &ServeArgs) -> anyhow::Result<ExitCode> {
    anyhow::bail!(
        "serving {} on {} is not compiled in: build with `cargo build --release -p scgs-cli --features remote`",
        args.device.device,
        args.listen
    )
}
