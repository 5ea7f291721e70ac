//! Compresses the files of the reference and of the product page into `OUT_DIR`: for each file `<name>.gz`, and
//! `<name>.tag` with the hash of its plain content.

use std::error::Error;
use std::io::{Cursor, Read as _};
use std::path::{Path, PathBuf};
use std::{env, fs};

use libdeflater::{CompressionLvl, Compressor, Decompressor};
use utoipa_swagger_ui_vendored::SWAGGER_UI_VENDORED;
use xxhash_rust::xxh3::xxh3_64;
use zip::ZipArchive;

/// The version of Swagger UI, which Cargo.toml also names for the bill of materials.
const SWAGGER_UI: &str = "swagger-ui-5.32.6";

fn main() -> Result<(), Box<dyn Error>> {
    let own = ["reference/index.html", "reference/initializer.js", "../openapi.json"];
    for path in own {
        println!("cargo::rerun-if-changed={path}");
    }
    let out = PathBuf::from(env::var("OUT_DIR")?);
    for path in own {
        let name = path.rsplit('/').next().unwrap_or(path);
        write(&out, name, &fs::read(path)?)?;
    }
    // The page at `/docs/`, where a relative reference leads to another address than at `/docs`.
    let page = fs::read_to_string("reference/index.html")?;
    let below = page.replace("\"openapi.json\"", "\"../openapi.json\"").replace("\"docs/", "\"");
    write(&out, "index-below.html", below.as_bytes())?;

    for name in ["index.html", "page/app.js", "page/app.css"] {
        let path = format!("../page/dist/{name}");
        println!("cargo::rerun-if-changed={path}");
        let name = format!("page-{}", name.trim_start_matches("page/"));
        write(&out, &name, &fs::read(path)?)?;
    }

    let mut archive = ZipArchive::new(Cursor::new(SWAGGER_UI_VENDORED))?;
    for name in ["swagger-ui-bundle.js", "swagger-ui.css"] {
        write(&out, name, &extract(&mut archive, &format!("dist/{name}"))?)?;
    }
    let licence = [extract(&mut archive, "NOTICE")?, extract(&mut archive, "LICENSE")?].join(&b"\n\n"[..]);
    write(&out, "license.txt", &licence)
}

/// Returns a file of Swagger UI.
fn extract(archive: &mut ZipArchive<Cursor<&[u8]>>, name: &str) -> Result<Vec<u8>, Box<dyn Error>> {
    let path = format!("{SWAGGER_UI}/{name}");
    let index = archive.index_for_name(&path).ok_or_else(|| format!("the archive has no {path}"))?;
    let mut file = archive.by_index_raw(index)?;
    let mut content = Vec::new();
    file.read_to_end(&mut content)?;
    if file.compression() == zip::CompressionMethod::Stored {
        return Ok(content);
    }
    let mut plain = vec![0; usize::try_from(file.size())?];
    let length = Decompressor::new().deflate_decompress(&content, &mut plain)?;
    plain.truncate(length);
    Ok(plain)
}

fn write(out: &Path, name: &str, plain: &[u8]) -> Result<(), Box<dyn Error>> {
    let mut compressor = Compressor::new(CompressionLvl::best());
    let mut gzipped = vec![0; compressor.gzip_compress_bound(plain.len())];
    let length = compressor.gzip_compress(plain, &mut gzipped)?;
    gzipped.truncate(length);
    fs::write(out.join(format!("{name}.gz")), gzipped)?;
    fs::write(out.join(format!("{name}.tag")), format!("{:#018x}", xxh3_64(plain)))?;
    Ok(())
}
