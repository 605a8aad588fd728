//! Unpacks the archive of a chart: within bounds, and nothing but files and folders below one folder.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Component, Path, PathBuf};

use flate2::read::GzDecoder;
use tar::EntryType;

use super::error::ChartProblem;

/// What a chart may have. Helm's own limits are 100 MiB of all files and 5 MiB of one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub files: usize,
    pub file_bytes: u64,
    /// Of the unpacked archive, headers included: also of files that are left out.
    pub bytes: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { files: 10_000, file_bytes: 5 << 20, bytes: 100 << 20 }
    }
}

/// Puts the files of an archive into `folder`, without the folder that they have in common.
pub(super) fn unpack(archive: &Path, folder: &Path, bounds: Bounds) -> Result<(), ChartProblem> {
    let storage = |source| ChartProblem::Storage { path: folder.to_owned(), source };
    let file = File::open(archive).map_err(storage)?;
    fs::create_dir_all(folder).map_err(storage)?;
    let stream = Bounded { inner: GzDecoder::new(file), left: bounds.bytes, exceeded: false };
    let mut archive = tar::Archive::new(stream);
    let unpacked = entries(&mut archive, folder, bounds);
    if archive.into_inner().exceeded {
        return Err(too_large("the unpacked chart", bounds.bytes));
    }
    unpacked?;
    match folder.join("Chart.yaml").is_file() {
        true => Ok(()),
        false => Err(invalid("it has no Chart.yaml in its folder".to_owned())),
    }
}

fn entries(
    archive: &mut tar::Archive<Bounded<GzDecoder<File>>>,
    folder: &Path,
    bounds: Bounds,
) -> Result<(), ChartProblem> {
    let broken = |error: io::Error| invalid(error.to_string());
    let mut files = 0;
    for entry in archive.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        let kind = entry.header().entry_type();
        if kind == EntryType::XGlobalHeader {
            continue;
        }
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let Some(path) = within(&name)? else { continue };
        match kind {
            EntryType::Directory => {}
            EntryType::Regular | EntryType::Continuous => {
                files += 1;
                if files > bounds.files {
                    let limit = format!("{} files", bounds.files);
                    return Err(ChartProblem::TooLarge { what: "the chart", limit });
                }
                if entry.size() > bounds.file_bytes {
                    return Err(too_large("a file of the chart", bounds.file_bytes));
                }
                write(&mut entry, &folder.join(path))?;
            }
            _ => return Err(invalid(format!("{name:?} is neither a file nor a folder"))),
        }
    }
    Ok(())
}

/// Returns where an entry belongs in the chart's folder; nothing for that folder itself.
fn within(name: &str) -> Result<Option<PathBuf>, ChartProblem> {
    let mut parts = Vec::new();
    for component in Path::new(name).components() {
        match component {
            Component::CurDir => {}
            Component::Normal(part) if !name.contains(['\\', '\0']) => parts.push(part),
            _ => return Err(invalid(format!("{name:?} leads out of the chart"))),
        }
    }
    let path: PathBuf = parts.into_iter().skip(1).collect();
    Ok((!path.as_os_str().is_empty()).then_some(path))
}

fn write(entry: &mut impl Read, path: &Path) -> Result<(), ChartProblem> {
    let storage = |source| ChartProblem::Storage { path: path.to_owned(), source };
    fs::create_dir_all(path.parent().unwrap_or(path)).map_err(storage)?;
    let mut file = File::create(path).map_err(storage)?;
    let mut buffer = vec![0; 64 << 10];
    loop {
        match entry.read(&mut buffer).map_err(|error| invalid(error.to_string()))? {
            0 => return Ok(()),
            read => file.write_all(&buffer[..read]).map_err(storage)?,
        }
    }
}

fn too_large(what: &'static str, bytes: u64) -> ChartProblem {
    ChartProblem::TooLarge { what, limit: format!("{bytes} bytes") }
}

fn invalid(problem: String) -> ChartProblem {
    ChartProblem::Archive { problem }
}

/// A stream that ends with an error after so many bytes: a small archive can hold any number of them.
struct Bounded<R> {
    inner: R,
    left: u64,
    exceeded: bool,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        match self.left.checked_sub(read as u64) {
            Some(left) => self.left = left,
            None => {
                self.exceeded = true;
                return Err(io::Error::other("too large"));
            }
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    /// What an archive may hold.
    enum Entry<'a> {
        File(&'a str, &'a [u8]),
        Link(&'a str, EntryType),
    }

    fn archive(entries: &[Entry<'_>]) -> Vec<u8> {
        let mut builder = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        for entry in entries {
            let mut header = tar::Header::new_gnu();
            let (name, content, kind): (_, &[u8], _) = match entry {
                Entry::File(name, content) => (name, content, EntryType::Regular),
                Entry::Link(name, kind) => {
                    header.set_link_name("/etc/passwd").unwrap();
                    (name, &[], *kind)
                }
            };
            // The builder's own setter refuses what a hostile archive holds.
            header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_entry_type(kind);
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            header.set_cksum();
            builder.append(&header, content).unwrap();
        }
        builder.into_inner().unwrap().finish().unwrap()
    }

    fn unpacked(bytes: &[u8], bounds: Bounds) -> Result<Vec<String>, String> {
        let folder = tempfile::tempdir().unwrap();
        let (file, target) = (folder.path().join("chart.tgz"), folder.path().join("chart"));
        fs::write(&file, bytes).unwrap();
        unpack(&file, &target, bounds).map_err(|error| error.to_string())?;
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "nothing is written elsewhere");
        let mut names: Vec<String> = Vec::new();
        for entry in fs::read_dir(&target).unwrap() {
            names.push(entry.unwrap().file_name().into_string().unwrap());
        }
        names.sort();
        Ok(names)
    }

    const CHART: Entry<'static> = Entry::File("web/Chart.yaml", b"name: web\n");

    #[test]
    fn files_are_put_below_one_folder() {
        let bytes = archive(&[
            CHART,
            Entry::File("./web/templates/a.yaml", b"a"),
            Entry::File("web/values.yaml", b""),
        ]);
        assert_eq!(unpacked(&bytes, Bounds::default()).unwrap(), ["Chart.yaml", "templates", "values.yaml"]);
    }

    #[test]
    fn what_leaves_the_folder_or_is_no_file_is_refused() {
        let told = |entry| unpacked(&archive(&[CHART, entry]), Bounds::default()).unwrap_err();
        for name in ["../evil", "web/../../evil", "/etc/evil", "web/a\\..\\b"] {
            assert!(told(Entry::File(name, b"x")).contains("leads out of the chart"), "{name}");
        }
        for kind in [EntryType::Symlink, EntryType::Link, EntryType::Char, EntryType::Block, EntryType::Fifo]
        {
            assert!(told(Entry::Link("web/link", kind)).contains("neither a file nor a folder"), "{kind:?}");
        }
    }

    #[test]
    fn small_archives_do_not_become_large_charts() {
        let content = vec![0; 2 << 20];
        let bytes = archive(&[CHART, Entry::File("web/a", &content), Entry::File("web/b", &content)]);
        assert!(bytes.len() < 100_000);
        let told = |bounds| unpacked(&bytes, bounds).unwrap_err();
        let bounds = Bounds::default();
        assert_eq!(
            told(Bounds { bytes: 3 << 20, ..bounds }),
            "the unpacked chart has more than 3145728 bytes"
        );
        assert_eq!(
            told(Bounds { file_bytes: 1 << 20, ..bounds }),
            "a file of the chart has more than 1048576 bytes"
        );
        assert_eq!(told(Bounds { files: 2, ..bounds }), "the chart has more than 2 files");
    }

    #[test]
    fn what_is_no_archive_of_a_chart_is_told() {
        assert!(
            unpacked(b"<html>", Bounds::default()).unwrap_err().starts_with("its archive cannot be used")
        );
        let told = unpacked(&archive(&[Entry::File("web/values.yaml", b"")]), Bounds::default()).unwrap_err();
        assert_eq!(told, "its archive cannot be used: it has no Chart.yaml in its folder");
    }
}
