// Package submit sends documents into the pipeline and follows them until they
// are final. It is what 'sluice ingest' is made of, without a terminal.
package submit

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar/v4"

	"sluice/pkg/fault"
)

// Source is one document that is to be submitted. One of Path, URL and Stdin is set.
type Source struct {
	Name  string // of the document; may be empty for standard input
	Path  string // a file
	URL   string // http or https; fetched by the parser, not by this process
	Stdin bool
	Size  int64 // bytes, if it is a file
	Err   error // the file was found and cannot be submitted
}

// Expand turns arguments into sources: files, directories (recursively, without
// hidden files; symbolic links in them are not followed), glob patterns with
// **, http(s) URLs, and "-" for standard input. Order is that of the arguments
// and of names; a file that is met twice is taken once.
//
// A pattern or path that matches nothing is an error, so that a typing mistake
// is seen before anything is submitted. What is found and cannot be read is a
// Source with Err.
func Expand(args []string) ([]Source, error) {
	e := expander{seen: map[string]bool{}}
	wd, err := os.Getwd()
	if err != nil {
		return nil, fmt.Errorf("find the working directory: %w", err)
	}
	e.wd = wd
	for _, arg := range args {
		before := len(e.sources) + e.repeats
		if err := e.add(arg); err != nil {
			return nil, err
		}
		if len(e.sources)+e.repeats == before {
			return nil, noMatch(arg)
		}
	}
	return e.sources, nil
}

func noMatch(arg string) error {
	e := fault.Invalid("no-match", "no file matches %q", arg)
	info, err := os.Stat(arg)
	switch {
	case err == nil && info.IsDir():
		return e.WithHint("hidden files and links inside directories are left out; name them to have them")
	case strings.ContainsAny(arg, "*?[{"):
		return e.WithHint("quote patterns with ** so that the shell leaves them alone; hidden files do not match")
	}
	return e.WithHint("check the path")
}

type expander struct {
	wd      string
	sources []Source
	seen    map[string]bool
	repeats int
}

func (e *expander) add(arg string) error {
	switch {
	case arg == "-":
		if e.once("-") {
			e.sources = append(e.sources, Source{Stdin: true})
		}
		return nil
	case strings.HasPrefix(arg, "http://"), strings.HasPrefix(arg, "https://"):
		u, err := url.Parse(arg)
		if err != nil || u.Host == "" {
			return fault.Invalid("bad-uri", "%q is not a URL", arg).WithHint("use http://host/path or https://host/path")
		}
		if e.once(arg) {
			e.sources = append(e.sources, Source{Name: arg, URL: arg})
		}
		return nil
	case strings.Contains(arg, "://"):
		return fault.Invalid("bad-uri", "the scheme of %q cannot be fetched", arg).WithHint("use http or https, or download the file first")
	}
	info, err := os.Stat(arg)
	switch {
	case err == nil && info.IsDir():
		return e.walk(arg)
	case err == nil:
		e.file(arg, info)
		return nil
	case strings.ContainsAny(arg, "*?[{"):
		return e.glob(arg)
	case errors.Is(err, fs.ErrNotExist):
		return nil // Expand says that nothing matched
	}
	e.refuse(arg, err)
	return nil
}

// file adds a regular file; anything else that is not a directory is refused.
func (e *expander) file(path string, info fs.FileInfo) {
	if !info.Mode().IsRegular() {
		e.refuse(path, fault.Invalid("not-a-file", "%s is not a regular file", path).WithHint("pipe it to 'sluice ingest -'"))
		return
	}
	name := e.name(path)
	if e.once(name) {
		e.sources = append(e.sources, Source{Name: name, Path: path, Size: info.Size()})
	}
}

func (e *expander) refuse(path string, err error) {
	name := e.name(path)
	if e.once(name) {
		e.sources = append(e.sources, Source{Name: name, Path: path, Err: err})
	}
}

func (e *expander) once(key string) bool {
	if e.seen[key] {
		e.repeats++
		return false
	}
	e.seen[key] = true
	return true
}

func (e *expander) walk(root string) error {
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			e.refuse(path, err)
			if d != nil && d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if path != root && strings.HasPrefix(d.Name(), ".") {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if !d.Type().IsRegular() {
			return nil // directories are entered; links, sockets and devices are not
		}
		info, err := d.Info()
		if err != nil {
			e.refuse(path, err)
			return nil
		}
		e.file(path, info)
		return nil
	})
}

func (e *expander) glob(pattern string) error {
	if !doublestar.ValidatePathPattern(pattern) {
		return fault.Invalid("bad-pattern", "the pattern %q cannot be read", pattern).
			WithHint("*, ?, [a-z], {a,b} and ** are understood")
	}
	matches, err := doublestar.FilepathGlob(pattern, doublestar.WithNoFollow(), doublestar.WithNoHidden())
	if err != nil {
		return fmt.Errorf("search %q: %w", pattern, err)
	}
	slices.Sort(matches)
	for _, m := range matches {
		info, err := os.Lstat(m)
		switch {
		case err != nil:
			e.refuse(m, err)
		case info.IsDir():
			// "docs/*" means what is in docs; "docs/**" has listed the rest already.
			if !strings.Contains(pattern, "**") {
				if err := e.walk(m); err != nil {
					return err
				}
			}
		case info.Mode().IsRegular():
			e.file(m, info)
		}
	}
	return nil
}

func (e *expander) name(path string) string { return DocumentName(e.wd, path) }

// DocumentName returns the name under which a file is submitted: its path
// relative to the working directory with forward slashes, or its absolute path
// if it is elsewhere. The same file has the same name at every submission.
func DocumentName(wd, path string) string {
	abs := path
	if !filepath.IsAbs(abs) {
		abs = filepath.Join(wd, path)
	}
	abs = filepath.Clean(abs)
	if rel, err := filepath.Rel(wd, abs); err == nil && filepath.IsLocal(rel) {
		return filepath.ToSlash(rel)
	}
	return filepath.ToSlash(abs)
}
