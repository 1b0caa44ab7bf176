// Package text reads plain text, program text and Markdown.
package text

import (
	"context"
	"maps"
	"path"
	"slices"
	"strings"

	"sluice/pkg/events"
	"sluice/services/parser/internal/format"
	"sluice/services/parser/internal/md"
)

// Markdown reads Markdown: it stays as it is. Facts come from its front matter,
// which stays as well, and from its first heading.
func Markdown(_ context.Context, in format.Input) (*format.Output, error) {
	src, warnings, err := format.Decode(in, format.ContentTypeCharset(in.ContentType))
	if err != nil {
		return nil, err
	}
	out := &format.Output{Markdown: src, Warnings: warnings}
	out.Facts = frontMatter(src)
	if out.Facts.Title == "" {
		out.Facts.Title = format.FirstHeading(src)
	}
	return out, nil
}

// frontMatter reads the simple values of YAML front matter. Whatever is nested
// there is no fact this package knows.
func frontMatter(src string) events.Facts {
	var f events.Facts
	rest, ok := strings.CutPrefix(src, "---")
	if !ok {
		return f
	}
	const longest = 16 << 10
	for line := range strings.Lines(rest[:min(len(rest), longest)]) {
		line = strings.TrimRight(line, " \t\r\n")
		if line == "---" || line == "..." {
			return f
		}
		key, value, ok := strings.Cut(line, ":")
		value = strings.Trim(strings.TrimSpace(value), `"'`)
		if !ok || value == "" || strings.ContainsAny(value[:1], "[{|>&*!") {
			continue
		}
		switch strings.ToLower(key) {
		case "title":
			f.Title = value
		case "author":
			f.Author = value
		case "date", "created":
			f.Created = format.When(value)
		case "updated", "modified", "lastmod":
			f.Modified = format.When(value)
		case "lang", "language":
			f.Language = format.Language(value)
		}
	}
	return events.Facts{} // it never ended: a thematic break, not front matter
}

// Plain reads text of no particular format. It stays as it is, because it was
// written to be read like this; program text is fenced. Form feeds, which RFCs
// and printers' files have, begin pages.
func Plain(_ context.Context, in format.Input) (*format.Output, error) {
	src, warnings, err := format.Decode(in, format.ContentTypeCharset(in.ContentType))
	if err != nil {
		return nil, err
	}
	out := &format.Output{Warnings: warnings}
	if lang, ok := codeLanguages[strings.ToLower(path.Ext(in.Name))]; ok {
		out.Markdown = md.Fence(lang, src)
		return out, nil
	}
	if !strings.Contains(src, "\f") {
		out.Markdown = src
		return out, nil
	}
	var b strings.Builder
	b.Grow(len(src))
	for page := range strings.SplitSeq(src, "\f") {
		page = strings.Trim(page, "\r\n")
		if strings.TrimSpace(page) == "" {
			continue
		}
		if b.Len() > 0 {
			b.WriteString("\n\n")
		}
		out.Facts.Pages++
		out.Pages = append(out.Pages, events.PageMark{Page: out.Facts.Pages, Offset: b.Len()})
		b.WriteString(page)
	}
	out.Markdown = b.String()
	return out, nil
}

// ProgramExtensions returns the extensions of program text and settings.
func ProgramExtensions() []string {
	return append(slices.Sorted(maps.Keys(codeLanguages)), ".conf", ".cfg", ".env", ".vue", ".srt", ".vtt")
}

// codeLanguages are the extensions of program text, with the names by which
// fences know their languages.
var codeLanguages = map[string]string{
	".bash": "bash", ".bat": "bat", ".c": "c", ".cc": "cpp", ".clj": "clojure", ".cmake": "cmake", ".cpp": "cpp",
	".cs": "csharp", ".css": "css", ".cxx": "cpp", ".dart": "dart", ".diff": "diff", ".erl": "erlang", ".ex": "elixir",
	".exs": "elixir", ".go": "go", ".gradle": "groovy", ".graphql": "graphql", ".groovy": "groovy", ".h": "c",
	".hpp": "cpp", ".hs": "haskell", ".ini": "ini", ".java": "java", ".jl": "julia", ".js": "javascript",
	".jsx": "jsx", ".kt": "kotlin", ".less": "less", ".lua": "lua", ".m": "objectivec", ".mjs": "javascript",
	".ml": "ocaml", ".patch": "diff", ".php": "php", ".pl": "perl", ".properties": "properties", ".proto": "protobuf",
	".ps1": "powershell", ".py": "python", ".r": "r", ".rb": "ruby", ".rs": "rust", ".scala": "scala", ".scss": "scss",
	".sh": "bash", ".sql": "sql", ".swift": "swift", ".tf": "hcl", ".toml": "toml", ".ts": "typescript",
	".tsx": "tsx", ".vb": "vbnet", ".yaml": "yaml", ".yml": "yaml", ".zig": "zig", ".zsh": "bash",
}
