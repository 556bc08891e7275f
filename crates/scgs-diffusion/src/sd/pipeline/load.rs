//! A model folder as one pipeline: parts that fit each other, with LoRAs and learned words in them.

use std::{
    io::Read as _,
    path::{Path, PathBuf},
};

use burn::tensor::Device;
use fs_err::File;
use sha2::{Digest as _, Sha256};

use super::{PipelineError, StableDiffusionInpaint};
use crate::sd::{
    Embedding, Lora, LoraPart, ModelFolder, SchedulerConfig, TextConfig, Tokenizer, UNetConfig, VaeConfig, WeightType,
    Weights,
};

/// What a pipeline is loaded with beside its folder.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LoadOptions {
    /// How the weights are kept in memory. Computations are in f32 whatever it is.
    pub weights: WeightType,
    /// Files of LoRAs with their scales, merged in this order.
    pub loras: Vec<(PathBuf, f64)>,
    /// Files of learned words (textual inversion), each with the word to write in prompts in place of the file's own.
    pub embeddings: Vec<(PathBuf, Option<String>)>,
}

/// The configurations of a folder's parts, which fit each other.
#[derive(Clone, Debug)]
pub(super) struct Configs {
    pub(super) unet: UNetConfig,
    pub(super) vae: VaeConfig,
    pub(super) text: TextConfig,
    pub(super) scheduler: SchedulerConfig,
}

impl Configs {
    pub(super) fn read(folder: &ModelFolder) -> Result<Self, PipelineError> {
        let unet = UNetConfig::read(&folder.config("unet"))?;
        let vae = VaeConfig::read(&folder.config("vae"))?;
        let text = TextConfig::read(&folder.config("text_encoder"))?;
        let scheduler = SchedulerConfig::read(&folder.scheduler())?;
        let refused = |what, found, expected: String| {
            Err(PipelineError::Parts { folder: folder.path().to_owned(), what, found, expected })
        };
        let latents = vae.latent_channels;
        if unet.in_channels != latents && unet.in_channels != 2 * latents + 1 {
            let expected = format!("{latents} (text to image) or {} (inpainting)", 2 * latents + 1);
            return refused("the UNet's `in_channels`", unet.in_channels, expected);
        }
        if unet.out_channels != latents {
            return refused("the UNet's `out_channels`", unet.out_channels, format!("the VAE's {latents}"));
        }
        if unet.cross_attention_dim != text.hidden_size {
            let expected = format!("the text encoder's `hidden_size`, {}", text.hidden_size);
            return refused("the UNet's `cross_attention_dim`", unet.cross_attention_dim, expected);
        }
        Ok(Self { unet, vae, text, scheduler })
    }
}

impl StableDiffusionInpaint {
    /// Loads a model once, for any number of pictures. Configurations, tokenizer, LoRAs and learned words are checked
    /// before the weights, which take gigabytes and seconds.
    ///
    /// # Errors
    /// [`PipelineError`]: whatever of the folder, a LoRA or a learned word is missing, damaged or of another model.
    pub fn load(folder: &ModelFolder, options: &LoadOptions, device: &Device) -> Result<Self, PipelineError> {
        let mut configs = Configs::read(folder)?;
        let mut tokenizer = Tokenizer::open(&folder.tokenizer())?;
        let (known, rows) = (tokenizer.vocabulary(), configs.text.vocab_size);
        if known > rows {
            let expected = format!("at most the text encoder's `vocab_size`, {rows}");
            return Err(PipelineError::Parts {
                folder: folder.path().to_owned(),
                what: "the size of the tokenizer's vocabulary",
                found: known,
                expected,
            });
        }
        let loras: Vec<(Lora, f64)> = options
            .loras
            .iter()
            .map(|(path, scale)| Ok((Lora::open(path)?, *scale)))
            .collect::<Result<_, PipelineError>>()?;
        let embeddings: Vec<Embedding> = options
            .embeddings
            .iter()
            .map(|(path, token)| Embedding::read(path, token.as_deref()))
            .collect::<Result<_, _>>()?;
        // Headers of all files before the numbers of any.
        let open = |files: &[PathBuf]| Ok::<_, PipelineError>(Weights::open(files)?.kept_as(options.weights));
        let (mut text, vae, mut unet) = (open(folder.text_encoder())?, open(folder.vae())?, open(folder.unet())?);
        for embedding in &embeddings {
            embedding.add_to(&mut tokenizer, &mut configs.text, &mut text)?;
        }
        for (lora, scale) in &loras {
            lora.merge(LoraPart::TextEncoder, &mut text, *scale, device)?;
            lora.merge(LoraPart::UNet, &mut unet, *scale, device)?;
        }
        let weight_bytes = [&text, &vae, &unet].iter().map(|part| part.bytes()).sum();
        let text_encoder = configs.text.init(text, device)?;
        let vae = configs.vae.init(vae, device)?;
        let unet = configs.unet.init(unet, device)?;
        Ok(Self {
            folder: folder.clone(),
            loaded: options.clone(),
            configs,
            tokenizer,
            text_encoder,
            vae,
            unet,
            weight_bytes,
            device: device.clone(),
            prompts: Default::default(),
            hash: Default::default(),
        })
    }

    /// sha256 of everything that the pipeline was loaded from: names and contents of the folder's files, of LoRAs with
    /// their scales, of learned words. In hexadecimal digits. The files are read the first time.
    ///
    /// # Errors
    /// [`PipelineError::Io`].
    pub fn hash(&self) -> Result<String, PipelineError> {
        if let Some(hash) = self.hash.get() {
            return Ok(hash.clone());
        }
        let folder = &self.folder;
        let mut files: Vec<PathBuf> = ["unet", "vae", "text_encoder"].map(|part| folder.config(part)).to_vec();
        files.extend([folder.unet(), folder.vae(), folder.text_encoder()].concat());
        files.push(folder.scheduler());
        files.extend(["vocab.json", "merges.txt", "tokenizer_config.json"].map(|name| folder.tokenizer().join(name)));
        files.sort();
        let mut all = Sha256::new();
        for path in &files {
            let name = path.strip_prefix(folder.path()).unwrap_or(path);
            all.update(name.to_string_lossy().as_bytes());
            all.update(sha256(path)?);
        }
        for (path, scale) in &self.loaded.loras {
            all.update(scale.to_le_bytes());
            all.update(sha256(path)?);
        }
        for (path, token) in &self.loaded.embeddings {
            all.update(token.as_deref().unwrap_or_default().as_bytes());
            all.update(sha256(path)?);
        }
        let hash: String = all.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(self.hash.get_or_init(|| hash).clone())
    }
}

fn sha256(path: &Path) -> Result<[u8; 32], std::io::Error> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hash.finalize().into()),
            count => hash.update(&buffer[..count]),
        }
    }
}
