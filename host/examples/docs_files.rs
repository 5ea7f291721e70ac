//! Writes the files of the reference into a folder, for a web server beside the functions: `make docs-files`.

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

use libdeflater::Decompressor;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = PathBuf::from(env::args_os().nth(1).ok_or("expected a folder as the only argument")?);
    for (path, file) in atelier_host::reference::FILES {
        let length = file.gzipped.last_chunk().map(|length| u32::from_le_bytes(*length)).unwrap_or_default();
        let mut plain = vec![0; usize::try_from(length)?];
        Decompressor::new().gzip_decompress(file.gzipped, &mut plain)?;
        let path = folder.join(path);
        fs::create_dir_all(path.parent().unwrap_or(&folder))?;
        fs::write(&path, plain).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    }
    Ok(())
}
