//! Reads the `index.yaml` of a chart repository: the versions of one chart, out of a file that may list thousands.
//!
//! Indexes of many megabytes are usual, so the file is walked event by event and only the wanted part is kept. Scalars
//! are taken as they are written: `version: 1.10` is the text `1.10`.

use granit_parser::{Event, Parser, Span, StrInput};

use super::Listed;

/// The deepest nesting of an index; Helm's have six levels.
const DEEPEST: usize = 64;

/// Names of charts that are kept to say which one may be meant.
const MOST_NAMES: usize = 10_000;

/// What an index says of one chart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Index {
    /// The versions of the chart, in the order of the file; none if it is not listed.
    pub versions: Vec<Listed>,
    /// The charts that are listed.
    pub charts: Vec<String>,
}

/// Why a text is no index.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IndexError {
    #[error("line {line}: {problem}")]
    Syntax { line: usize, problem: String },
    #[error("it has no key \"entries\", which lists the charts")]
    NoEntries,
}

impl Index {
    /// Reads what a text says of the chart `name`.
    pub fn read(text: &str, name: &str) -> Result<Self, IndexError> {
        let options = granit_parser::options! {
            emit_comments: false,
            flow_nesting_limit: DEEPEST,
            block_nesting_limit: DEEPEST,
        };
        let parser = Parser::new_from_str_with_options(text, options);
        let mut walk = Walk { parser, name, index: Self::default(), has_entries: false };
        walk.file()?;
        if walk.has_entries { Ok(walk.index) } else { Err(IndexError::NoEntries) }
    }
}

struct Walk<'a> {
    parser: Parser<'a, StrInput<'a>>,
    name: &'a str,
    index: Index,
    has_entries: bool,
}

impl<'a> Walk<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Span), IndexError> {
        match self.parser.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => {
                Err(IndexError::Syntax { line: error.marker().line(), problem: error.info() })
            }
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn file(&mut self) -> Result<(), IndexError> {
        loop {
            match self.next()?.0 {
                Event::StreamEnd => return Ok(()),
                Event::MappingStart(..) => self.mapping(|walk, key| {
                    if key != "entries" {
                        return walk.skip();
                    }
                    walk.has_entries = true;
                    walk.entries()
                })?,
                Event::SequenceStart(..) => self.rest()?,
                _ => {}
            }
        }
    }

    /// Reads the charts by name.
    fn entries(&mut self) -> Result<(), IndexError> {
        match self.next()?.0 {
            Event::MappingStart(..) => self.mapping(|walk, key| {
                let is_wanted = key == walk.name;
                if walk.index.charts.len() < MOST_NAMES {
                    walk.index.charts.push(key);
                }
                if is_wanted { walk.versions() } else { walk.skip() }
            }),
            event => self.skip_from(&event),
        }
    }

    /// Reads the list of one chart's versions.
    fn versions(&mut self) -> Result<(), IndexError> {
        let event = self.next()?.0;
        if !matches!(event, Event::SequenceStart(..)) {
            return self.skip_from(&event);
        }
        loop {
            match self.next()?.0 {
                Event::SequenceEnd | Event::StreamEnd => return Ok(()),
                Event::MappingStart(..) => {
                    let listed = self.version()?;
                    self.index.versions.push(listed);
                }
                event => self.skip_from(&event)?,
            }
        }
    }

    fn version(&mut self) -> Result<Listed, IndexError> {
        let mut listed = Listed::default();
        self.mapping(|walk, key| {
            match key.as_str() {
                "version" => listed.version = walk.text()?.unwrap_or_default(),
                "digest" => {
                    let text = walk.text()?.map(|text| text.trim_start_matches("sha256:").to_lowercase());
                    listed.digest = text.filter(|text| !text.is_empty());
                }
                "urls" => listed.urls = walk.texts()?,
                _ => walk.skip()?,
            }
            Ok(())
        })?;
        Ok(listed)
    }

    /// Reads a mapping whose start has been read, giving each key to `value`, which reads what stands behind it.
    fn mapping(
        &mut self,
        mut value: impl FnMut(&mut Self, String) -> Result<(), IndexError>,
    ) -> Result<(), IndexError> {
        loop {
            match self.next()?.0 {
                Event::MappingEnd | Event::StreamEnd => return Ok(()),
                Event::Scalar(key, ..) => value(self, key.into_owned())?,
                event => {
                    self.skip_from(&event)?;
                    self.skip()?;
                }
            }
        }
    }

    fn text(&mut self) -> Result<Option<String>, IndexError> {
        match self.next()?.0 {
            Event::Scalar(text, ..) => Ok(Some(text.into_owned())),
            event => self.skip_from(&event).map(|()| None),
        }
    }

    fn texts(&mut self) -> Result<Vec<String>, IndexError> {
        let mut texts = Vec::new();
        let event = self.next()?.0;
        if !matches!(event, Event::SequenceStart(..)) {
            return self.skip_from(&event).map(|()| texts);
        }
        loop {
            match self.next()?.0 {
                Event::SequenceEnd | Event::StreamEnd => return Ok(texts),
                Event::Scalar(text, ..) => texts.push(text.into_owned()),
                event => self.skip_from(&event)?,
            }
        }
    }

    /// Passes over the value that comes next.
    fn skip(&mut self) -> Result<(), IndexError> {
        let event = self.next()?.0;
        self.skip_from(&event)
    }

    /// Passes over the rest of a value that begins with `event`.
    fn skip_from(&mut self, event: &Event<'_>) -> Result<(), IndexError> {
        match event {
            Event::MappingStart(..) | Event::SequenceStart(..) => self.rest(),
            _ => Ok(()),
        }
    }

    /// Passes over the rest of a list or a mapping that has begun.
    fn rest(&mut self) -> Result<(), IndexError> {
        let mut open = 1_usize;
        while open > 0 {
            match self.next()?.0 {
                Event::MappingStart(..) | Event::SequenceStart(..) => open += 1,
                Event::MappingEnd | Event::SequenceEnd => open -= 1,
                Event::StreamEnd => return Ok(()),
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
apiVersion: v1
entries:
  db:
  - {version: 0.1.0}
  redis:
  - annotations: {category: Database, licenses: \"Apache-2.0\"}
    dependencies:
    - {name: common, version: 2.x.x}
    digest: sha256:ABCDEF
    name: redis
    urls:
    - charts/redis-18.1.2.tgz
    - https://mirror.example/redis-18.1.2.tgz
    version: 18.1.2
  - version: 1.10
    urls: []
  ? [odd, key]
  : skipped
generated: \"2026-11-23T08:00:00Z\"
";

    #[test]
    fn versions_of_the_wanted_chart_are_read_and_nothing_else() {
        let index = Index::read(TEXT, "redis").unwrap();
        let urls = ["charts/redis-18.1.2.tgz", "https://mirror.example/redis-18.1.2.tgz"];
        let first = Listed {
            version: "18.1.2".to_owned(),
            urls: urls.map(str::to_owned).to_vec(),
            digest: Some("abcdef".to_owned()),
        };
        let second = Listed { version: "1.10".to_owned(), ..Listed::default() };
        assert_eq!(index, Index { versions: vec![first, second], charts: vec!["db".into(), "redis".into()] });
        assert_eq!(Index::read(TEXT, "web").unwrap().versions, []);
    }

    #[test]
    fn json_is_read_too() {
        let text =
            r#"{"apiVersion":"v1","entries":{"web":[{"version":"1.0.0","urls":["web.tgz"],"digest":"ab"}]}}"#;
        let index = Index::read(text, "web").unwrap();
        assert_eq!(index.versions[0].urls, ["web.tgz"]);
    }

    #[test]
    fn what_is_no_index_is_told_from_one_without_the_chart() {
        assert_eq!(Index::read("<html>\n", "web"), Err(IndexError::NoEntries));
        assert_eq!(Index::read("", "web"), Err(IndexError::NoEntries));
        assert_eq!(Index::read("apiVersion: v1\nentries: {}\n", "web"), Ok(Index::default()));
        let broken = Index::read("entries:\n  web: [\n", "web").unwrap_err();
        assert!(matches!(broken, IndexError::Syntax { line: 2.., .. }), "{broken}");
        assert!(Index::read(&format!("entries: {}", "[".repeat(10_000)), "web").is_err());
    }
}
