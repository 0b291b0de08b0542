//! Which file of a crate imports which: `use` lines and paths in the code, followed through re-exports.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use regex::Regex;

/// The path of a module inside its crate, from the root; the root's is empty.
pub type Module = Vec<String>;

static USE: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\buse ([^;]+);").unwrap());
static PATH: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\b[a-z_]\w*(?:::\w+)+").unwrap());
static AS: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"(\w+)\s+as\s+(\w+)").unwrap());
/// Where the unit tests of a file begin; nothing follows them.
static TESTS: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"#\[cfg\((?:test|all\(test, [^\n]*)\)\]\nmod tests \{").unwrap());
/// Comments, texts and characters, whichever begins first.
static NOT_CODE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r##"(?s)//[^\n]*|/\*.*?\*/|\br#".*?"#|\br"[^"]*"|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])'"##)
        .unwrap()
});

/// The files of a crate.
pub struct Files {
    /// Code without comments, texts and unit tests.
    code: BTreeMap<Module, String>,
    /// What the `use` lines of a file call by a name.
    names: BTreeMap<Module, BTreeMap<String, Vec<String>>>,
}

impl Files {
    pub fn read(src: &Path) -> Self {
        let mut code = BTreeMap::new();
        read_below(src, &mut Vec::new(), &mut code);
        let names = code.iter().map(|(module, code)| {
            let used = USE.captures_iter(code).flat_map(|found| flat(&found[1]));
            (module.clone(), used.collect())
        });
        Self {
            names: names.collect(),
            code,
        }
    }

    /// The files that each file imports, with one path that does it. A file may use the modules inside it, and they it: it is
    /// their door. The root of the crate is everybody's, and is left out.
    pub fn imports(&self) -> BTreeMap<Module, BTreeMap<Module, String>> {
        let mut all = BTreeMap::new();
        for (module, code) in self.code.iter().filter(|(module, _)| !module.is_empty()) {
            let used = USE.captures_iter(code).flat_map(|found| flat(&found[1]));
            let used = used.map(|(_, path)| path);
            let rest = USE.replace_all(code, "");
            let written = PATH
                .find_iter(&rest)
                .map(|path| path.as_str().split("::").map(str::to_owned).collect::<Vec<_>>());
            let mut imports = BTreeMap::new();
            for path in used.chain(written) {
                let target = self.absolute(module, &path).map(|path| self.file_of(&path, 8));
                match target {
                    Some(target) if !target.is_empty() && !target.starts_with(module) => {
                        imports.insert(target, path.join("::"));
                    }
                    _ => {}
                }
            }
            all.insert(module.clone(), imports);
        }
        all
    }

    /// A path as it is from the root, if it is one inside the crate.
    fn absolute(&self, module: &Module, path: &[String]) -> Option<Module> {
        let (first, rest) = path.split_first()?;
        let within = |base: &[String], rest: &[String]| Some([base, rest].concat());
        match first.as_str() {
            "crate" => Some(rest.to_vec()),
            "self" => within(module, rest),
            "super" => {
                let up = path.iter().take_while(|part| *part == "super").count();
                within(module.get(..module.len().checked_sub(up)?)?, &path[up..])
            }
            _ if self.code.contains_key(&[module.as_slice(), &path[..1]].concat()) => within(module, path),
            _ => {
                // A module that was imported by its name.
                let known = self.names.get(module)?.get(first)?;
                let known = (known != path && known.first() != Some(first)).then_some(known)?;
                within(&self.absolute(module, known)?, rest)
            }
        }
    }

    /// The file that has what a path names.
    fn file_of(&self, path: &[String], most: u32) -> Module {
        let is_module = |parts: usize| self.code.contains_key(&path[..parts]);
        let known = (1..=path.len()).take_while(|parts| is_module(*parts)).count();
        let (module, rest) = path.split_at(known);
        let module = module.to_vec();
        let exported = rest.first().and_then(|name| self.names.get(&module)?.get(name));
        match exported.and_then(|path| self.absolute(&module, path)) {
            Some(path) if most > 0 => self.file_of(&[&path, &rest[1..]].concat(), most - 1),
            _ => module,
        }
    }
}

fn read_below(folder: &Path, module: &mut Module, code: &mut BTreeMap<Module, String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            module.push(stem);
            read_below(&path, module, code);
            module.pop();
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            let mut of = module.clone();
            if !(stem == "mod" || module.is_empty() && (stem == "lib" || stem == "main")) {
                of.push(stem);
            }
            let text = bare(&fs::read_to_string(&path).unwrap());
            assert_eq!(code.insert(of, text), None, "{}: a second root", path.display());
        }
    }
}

/// Code without comments, texts and unit tests.
pub fn bare(text: &str) -> String {
    let code = TESTS.find(text).map_or(text, |tests| &text[..tests.start()]);
    NOT_CODE.replace_all(code, "").into_owned()
}

/// `a::{b, c::D as E}` as names with their paths: `b` is `a::b`, `E` is `a::c::D`.
fn flat(body: &str) -> Vec<(String, Vec<String>)> {
    let body = AS.replace_all(body, "$1@$2");
    let mut found = Vec::new();
    flat_below(&body.split_whitespace().collect::<String>(), &[], &mut found);
    found
}

fn flat_below(body: &str, before: &[String], found: &mut Vec<(String, Vec<String>)>) {
    let parts = |text: &str| {
        text.split("::")
            .filter(|part| !part.is_empty())
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    if let Some((head, list)) = body.strip_suffix('}').and_then(|body| body.split_once('{')) {
        let before = [before, &parts(head)].concat();
        let (mut depth, mut from) = (0, 0);
        let ends = list.char_indices().filter(|(_, character)| {
            depth += i32::from(*character == '{') - i32::from(*character == '}');
            *character == ',' && depth == 0
        });
        for end in ends.map(|(at, _)| at).chain([list.len()]).collect::<Vec<_>>() {
            if from < end {
                flat_below(&list[from..end], &before, found);
            }
            from = end + 1;
        }
        return;
    }
    let mut path = [before, &parts(body)].concat();
    let Some(last) = path.pop() else { return };
    let (item, name) = last.split_once('@').unwrap_or((&last, &last));
    let is_prelude = path.last().is_some_and(|last| last == "prelude");
    assert!(item != "*" || is_prelude, "`use {body}` hides what is imported");
    if item != "self" {
        path.push(item.to_owned());
    }
    let name = if name == "self" {
        path.last().cloned()
    } else {
        Some(name.to_owned())
    };
    found.extend(name.map(|name| (name, path)));
}

/// The circles of a graph: of each group of files that import one another, all of them.
pub fn circles(imports: &BTreeMap<Module, BTreeMap<Module, String>>) -> Vec<BTreeSet<Module>> {
    let reached = |from: &Module| {
        let (mut seen, mut open) = (BTreeSet::new(), vec![from.clone()]);
        while let Some(module) = open.pop() {
            for next in imports.get(&module).into_iter().flat_map(BTreeMap::keys) {
                if seen.insert(next.clone()) {
                    open.push(next.clone());
                }
            }
        }
        seen
    };
    let reached: BTreeMap<&Module, BTreeSet<Module>> =
        imports.keys().map(|module| (module, reached(module))).collect();
    let circles = reached.iter().filter(|(module, seen)| seen.contains(**module));
    let circles = circles.map(|(module, seen)| {
        let back = |other: &&Module| reached.get(other).is_some_and(|seen| seen.contains(*module));
        seen.iter().filter(back).cloned().collect()
    });
    circles.collect::<BTreeSet<_>>().into_iter().collect()
}
