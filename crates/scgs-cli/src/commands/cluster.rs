//! `scgs cluster`

use std::{path::Path, process::ExitCode};

use anyhow::{Context as _, bail};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use scgs_cluster::{Clustering, KMeansConfig, Matrix, choose_k, kmeans, l2_normalise, pca};

use super::{print, print_json};
use crate::{
    args_tools::{ClusterArgs, ClusterCount},
    device, files, progress,
};

/// The tensor that is read.
const TENSOR: &str = "features";

pub(crate) fn run(args: &ClusterArgs) -> anyhow::Result<ExitCode> {
    device::open(&args.device)?;
    let (mut values, rows, mut cols) = read(&args.features)?;
    files::check_output_file(&args.out, &[&args.features])?;
    let whole = Matrix::new(&values, rows, cols)
        .with_context(|| format!("{}: tensor `{TENSOR}`, rows counted from 0", args.features.display()))?;
    if args.l2_normalise {
        values = l2_normalise(&whole);
    }
    if let Some(dims) = args.pca {
        values = pca(&Matrix::new(&values, rows, cols)?, dims).context("--pca")?.values;
        cols = dims;
    }
    let matrix = Matrix::new(&values, rows, cols)?;
    let config = KMeansConfig { n_init: args.n_init, seed: args.seed, ..KMeansConfig::new(1) };
    let (clustering, silhouettes) = match args.k {
        ClusterCount::Fixed(k) => (kmeans(&matrix, &KMeansConfig { k, ..config }).context("--k")?, Vec::new()),
        ClusterCount::Auto => {
            let ks: Vec<usize> = (2..=10).collect();
            let chosen = choose_k(&matrix, &ks, &config).context("--k auto")?;
            (chosen.clustering, chosen.scores)
        }
    };
    if clustering.distinct < clustering.k {
        progress::notice(&format!(
            "warning: the {rows} rows have {} distinct value(s), so only as many of the {} clusters have rows",
            clustering.distinct, clustering.k
        ));
    }

    files::make_parent(&args.out)?;
    let table = clustering.assignments.iter().enumerate();
    files::save_csv(&args.out, &["index", "cluster"], table.map(|(i, c)| vec![i.to_string(), c.to_string()]))?;
    report(args, &clustering, &silhouettes)?;
    Ok(ExitCode::SUCCESS)
}

fn report(args: &ClusterArgs, clustering: &Clustering, silhouettes: &[(usize, f64)]) -> anyhow::Result<()> {
    let sizes = clustering.sizes();
    if args.common.json {
        let mut json = serde_json::json!({
            "schema": 1, "inertia": clustering.inertia, "iterations": clustering.iterations, "sizes": sizes,
        });
        if !silhouettes.is_empty() {
            let scores = silhouettes.iter().map(|(k, s)| serde_json::json!({ "k": k, "silhouette": s }));
            json["silhouettes"] = scores.collect();
        }
        return print_json(&json);
    }
    for (k, score) in silhouettes {
        print(&format!("k {k:<3} silhouette {score:.4}"))?;
    }
    let sizes: Vec<String> = sizes.iter().map(ToString::to_string).collect();
    print(&format!("inertia {}\niterations {}\nsizes {}", clustering.inertia, clustering.iterations, sizes.join(" ")))
}

/// The values of the tensor row by row, its rows and its columns.
fn read(path: &Path) -> anyhow::Result<(Vec<f32>, usize, usize)> {
    let bytes = fs_err::read(path).context("--features")?;
    let file = SafeTensors::deserialize(&bytes).with_context(|| {
        format!("--features {}: not a whole safetensors file; write or copy it again", path.display())
    })?;
    let Ok(view) = file.tensor(TENSOR) else {
        let mut names = file.names();
        names.sort_unstable();
        let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        bail!("--features {}: there is no tensor `{TENSOR}`; the file's tensors: {names}", path.display());
    };
    let &[rows, cols] = view.shape() else {
        bail!(
            "--features {}: the tensor `{TENSOR}` has the shape {:?}; expected [N, D], one row per sample",
            path.display(),
            view.shape()
        );
    };
    Ok((floats(path, &view, cols)?, rows, cols))
}

fn floats(path: &Path, view: &TensorView<'_>, cols: usize) -> anyhow::Result<Vec<f32>> {
    let data = view.data();
    Ok(match view.dtype() {
        Dtype::F32 => data.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
        Dtype::F16 => data.as_chunks::<2>().0.iter().map(|b| half::f16::from_le_bytes(*b).to_f32()).collect(),
        Dtype::BF16 => data.as_chunks::<2>().0.iter().map(|b| half::bf16::from_le_bytes(*b).to_f32()).collect(),
        Dtype::F64 => {
            let values: Vec<f64> = data.as_chunks::<8>().0.iter().map(|b| f64::from_le_bytes(*b)).collect();
            // It would become an infinity that is not in the file.
            if let Some(at) = values.iter().position(|v| v.is_finite() && v.abs() > f64::from(f32::MAX)) {
                bail!(
                    "--features {}: row {} (from 0) has the value {:e}, more than f32 holds; scale the features down",
                    path.display(),
                    at / cols,
                    values[at]
                );
            }
            values.into_iter().map(|v| v as f32).collect()
        }
        other => bail!(
            "--features {}: the tensor `{TENSOR}` has numbers of type {other:?}; expected f16, bf16, f32 or f64",
            path.display()
        ),
    })
}
