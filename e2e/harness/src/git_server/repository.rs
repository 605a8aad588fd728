//! A repository on the Git server, written by the `git` executable as a person's would be.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::{GitServer, environment};
use crate::signing::Signer;

/// How a repository names its objects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ObjectFormat {
    #[default]
    Sha1,
    Sha256,
}

/// A bare repository that the server serves, and the changes that its next commit will hold.
///
/// Every commit is made on top of what the branch is by then, so that pushes of others are kept.
#[derive(Debug)]
pub struct Repository {
    directory: PathBuf,
    url: String,
    branch: String,
    changes: Vec<Change>,
}

#[derive(Debug)]
enum Change {
    Write { mode: &'static str, path: String, content: Vec<u8> },
    Link { path: String, commit: String },
    Remove { path: String },
}

impl Repository {
    /// Creates an empty repository with the branch `main`.
    pub fn create(server: &GitServer, name: &str) -> Result<Self> {
        Self::create_with(server, name, ObjectFormat::Sha1)
    }

    /// Creates an empty repository with the branch `main` that names its objects as `format` says.
    pub fn create_with(server: &GitServer, name: &str, format: ObjectFormat) -> Result<Self> {
        let directory = server.root().join(format!("{name}.git"));
        std::fs::create_dir_all(&directory)
            .with_context(|| format!("failed to create {}", directory.display()))?;
        let repository =
            Self { directory, url: server.url(name), branch: "main".to_owned(), changes: Vec::new() };
        let format = match format {
            ObjectFormat::Sha1 => "sha1",
            ObjectFormat::Sha256 => "sha256",
        };
        repository.git(&["init", "--quiet", "--bare", "--initial-branch=main", "--object-format", format])?;
        repository.git(&["config", "http.receivepack", "true"])?;
        Ok(repository)
    }

    /// Returns the address that clients use.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Puts a file into the next commit.
    pub fn write(&mut self, path: &str, content: impl AsRef<[u8]>) -> &mut Self {
        self.put("100644", path, content.as_ref())
    }

    /// Puts an executable file into the next commit.
    pub fn write_executable(&mut self, path: &str, content: impl AsRef<[u8]>) -> &mut Self {
        self.put("100755", path, content.as_ref())
    }

    /// Puts a symbolic link into the next commit.
    pub fn symlink(&mut self, path: &str, target: &str) -> &mut Self {
        self.put("120000", path, target.as_bytes())
    }

    /// Puts a submodule that stands at `commit` into the next commit.
    pub fn submodule(&mut self, path: &str, commit: &str) -> &mut Self {
        self.changes.push(Change::Link { path: path.to_owned(), commit: commit.to_owned() });
        self
    }

    /// Leaves a file or a folder out of the next commit.
    pub fn remove(&mut self, path: &str) -> &mut Self {
        self.changes.push(Change::Remove { path: path.to_owned() });
        self
    }

    /// Commits what was written and removed to the current branch; returns the commit's id.
    pub fn commit(&mut self, message: &str) -> Result<String> {
        let parent = self.tip()?;
        self.record(message, parent.as_deref(), None)
    }

    /// Commits as [`Self::commit`] does, signed by somebody.
    pub fn commit_signed(&mut self, message: &str, signer: &Signer) -> Result<String> {
        let parent = self.tip()?;
        let unsigned = self.record(message, parent.as_deref(), None)?;
        let tree = self.git(&["rev-parse", &format!("{unsigned}^{{tree}}")])?;
        let mut arguments = signer.settings();
        arguments.extend(["commit-tree", "-S", "-m", message].map(str::to_owned));
        arguments.extend(parent.into_iter().flat_map(|parent| ["-p".to_owned(), parent]));
        arguments.push(tree);
        let signed = self.git(&borrowed(&arguments))?;
        self.git(&["update-ref", &self.reference(), &signed])?;
        Ok(signed)
    }

    /// Sets an annotated tag, also if it exists elsewhere, on the branch's newest commit, signed by somebody.
    pub fn tag_signed(&self, name: &str, message: &str, signer: &Signer) -> Result<()> {
        let mut arguments = signer.settings();
        let tag = ["tag", "--force", "--sign", "--message", message, name, &self.branch];
        arguments.extend(tag.map(str::to_owned));
        self.git(&borrowed(&arguments)).map(drop)
    }

    /// Replaces the branch's newest commit, as `git commit --amend` and a forced push do.
    pub fn rewrite(&mut self, message: &str) -> Result<String> {
        let tip =
            self.tip()?.with_context(|| format!("branch {:?} has no commit to rewrite", self.branch))?;
        let tree = self.git(&["rev-parse", &format!("{tip}^{{tree}}")])?;
        let parent = self.git(&["rev-parse", "--verify", "--quiet", &format!("{tip}^")]).ok();
        self.record(message, parent.as_deref(), Some(&tree))
    }

    /// Starts a branch at the current one's newest commit and commits to it from now on.
    pub fn branch(&mut self, name: &str) -> Result<&mut Self> {
        let tip = self.tip()?.with_context(|| format!("branch {:?} has no commit yet", self.branch))?;
        self.git(&["update-ref", &format!("refs/heads/{name}"), &tip])?;
        self.switch(name);
        Ok(self)
    }

    /// Commits to another branch from now on, which the next commit creates if it does not exist.
    pub fn switch(&mut self, branch: &str) -> &mut Self {
        branch.clone_into(&mut self.branch);
        self
    }

    /// Sets a lightweight tag, also if it exists elsewhere, on the branch's newest commit.
    pub fn tag(&self, name: &str) -> Result<()> {
        self.git(&["tag", "--force", name, &self.branch]).map(drop)
    }

    /// Sets an annotated tag, also if it exists elsewhere, on the branch's newest commit; returns the tag's own id.
    pub fn annotated_tag(&self, name: &str, message: &str) -> Result<String> {
        self.git(&["tag", "--force", "--annotate", "--message", message, name, &self.branch])?;
        self.git(&["rev-parse", &format!("refs/tags/{name}")])
    }

    /// Returns the id of the branch's newest commit.
    pub fn head(&self) -> Result<String> {
        self.tip()?.with_context(|| format!("branch {:?} has no commit yet", self.branch))
    }

    /// Runs any other `git` command in the repository; returns what it prints.
    pub fn git(&self, arguments: &[&str]) -> Result<String> {
        self.git_with_input(arguments, &[])
    }

    /// Runs any other `git` command in the repository with `input`; returns what it prints.
    pub fn git_with_input(&self, arguments: &[&str], input: &[u8]) -> Result<String> {
        let (name, address) = author();
        let mut child = Command::new("git")
            .arg("--git-dir")
            .arg(&self.directory)
            .args(["-c", "commit.gpgSign=false", "-c", "tag.gpgSign=false"])
            .args(arguments)
            .env_clear()
            .envs(environment::fixed())
            .envs([("GIT_AUTHOR_NAME", name), ("GIT_AUTHOR_EMAIL", address)])
            .envs([("GIT_COMMITTER_NAME", name), ("GIT_COMMITTER_EMAIL", address)])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("failed to start git: is it installed?")?;
        let mut stdin = child.stdin.take().context("git has no standard input")?;
        // A git that fails early closes its input; its own words say more than the broken pipe.
        let written = stdin.write_all(input);
        drop(stdin);
        let output = child.wait_with_output().context("failed to wait for git")?;
        if !output.status.success() {
            let reason = String::from_utf8_lossy(&output.stderr);
            bail!("git {} failed with {}: {}", arguments.join(" "), output.status, reason.trim());
        }
        written.context("failed to write to git")?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    fn put(&mut self, mode: &'static str, path: &str, content: &[u8]) -> &mut Self {
        self.changes.push(Change::Write { mode, path: path.to_owned(), content: content.to_vec() });
        self
    }

    fn tip(&self) -> Result<Option<String>> {
        let listed = self.git(&["for-each-ref", "--format=%(objectname)", &self.reference()])?;
        Ok(listed.lines().next().map(str::to_owned))
    }

    fn reference(&self) -> String {
        format!("refs/heads/{}", self.branch)
    }

    /// Makes one commit by one process, however many files it has.
    fn record(&mut self, message: &str, parent: Option<&str>, tree: Option<&str>) -> Result<String> {
        let mut stream = Vec::new();
        let now = jiff::Timestamp::now().as_second();
        let reference = self.reference();
        writeln!(stream, "commit {reference}")?;
        writeln!(stream, "author {} {now} +0000", environment::AUTHOR)?;
        writeln!(stream, "committer {} {now} +0000", environment::AUTHOR)?;
        write_block(&mut stream, message.as_bytes())?;
        if let Some(parent) = parent {
            writeln!(stream, "from {parent}")?;
        }
        if let Some(tree) = tree {
            writeln!(stream, "M 040000 {tree} \"\"")?;
        }
        for change in self.changes.drain(..) {
            change.write(&mut stream)?;
        }
        writeln!(stream, "done")?;
        self.git_with_input(&["fast-import", "--quiet", "--force", "--done"], &stream)?;
        self.head()
    }
}

impl Change {
    fn write(&self, stream: &mut Vec<u8>) -> Result<()> {
        match self {
            Self::Write { mode, path, content } => {
                writeln!(stream, "M {mode} inline {path}")?;
                write_block(stream, content)
            }
            Self::Link { path, commit } => {
                writeln!(stream, "M 160000 {commit} {path}").context("memory does not fail")
            }
            Self::Remove { path } => writeln!(stream, "D {path}").context("memory does not fail"),
        }
    }
}

fn borrowed(arguments: &[String]) -> Vec<&str> {
    arguments.iter().map(String::as_str).collect()
}

fn write_block(stream: &mut Vec<u8>, content: &[u8]) -> Result<()> {
    writeln!(stream, "data {}", content.len())?;
    stream.write_all(content)?;
    writeln!(stream)?;
    Ok(())
}

fn author() -> (&'static str, &'static str) {
    let (name, address) = environment::AUTHOR.split_once(" <").expect("the author has a name and an address");
    (name, address.trim_end_matches('>'))
}
