package office

import (
	"archive/zip"
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/url"
	"path"
	"strings"
)

// archive is the ZIP file that office documents and e-books are packed in.
type archive struct {
	*job
	files map[string]*zip.File // by lower-case name with forward slashes
}

func openArchive(j *job) (*archive, error) {
	if err := j.alive(); err != nil {
		return nil, err
	}
	if len(j.in.Data) == 0 {
		return nil, j.corrupt(errors.New("no bytes"), "its beginning")
	}
	if bytes.HasPrefix(j.in.Data, cfbMagic) {
		return nil, j.notZIP()
	}
	z, err := zip.NewReader(bytes.NewReader(j.in.Data), int64(len(j.in.Data)))
	if err != nil && !errors.Is(err, zip.ErrInsecurePath) { // no name is ever written to
		return nil, j.corrupt(err, "the directory of the archive")
	}
	if limit := j.in.Limits.Files; limit > 0 && len(z.File) > limit {
		return nil, j.tooLarge("files", "packs more than %d files", limit)
	}
	a := &archive{job: j, files: make(map[string]*zip.File, len(z.File))}
	for _, f := range z.File {
		key := partKey(f.Name)
		if _, dup := a.files[key]; !dup {
			a.files[key] = f
		}
	}
	return a, nil
}

func partKey(name string) string {
	return strings.ToLower(strings.TrimPrefix(strings.ReplaceAll(name, `\`, "/"), "/"))
}

func (a *archive) has(part string) bool { return a.files[partKey(part)] != nil }

// open returns the bytes of a part, uncounted: newXML and read count them.
func (a *archive) open(part string) (io.ReadCloser, error) {
	f := a.files[partKey(part)]
	if f == nil {
		return nil, a.corrupt(errors.New("missing from the archive"), part)
	}
	if f.Flags&1 != 0 {
		return nil, a.encrypted("password of the archive")
	}
	r, err := f.Open()
	if errors.Is(err, zip.ErrAlgorithm) {
		return nil, a.unsupported(fmt.Sprintf("packs %s by compression method %d", part, f.Method),
			"pack it with deflate, which every office suite does")
	}
	return r, a.corrupt(err, part)
}

// read returns a part whole. It is for parts that another reader needs whole.
func (a *archive) read(part string) ([]byte, error) {
	r, err := a.open(part)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	b, err := io.ReadAll(&countedReader{r: r, job: a.job, token: -1 << 62})
	if err != nil {
		return nil, a.corrupt(err, part)
	}
	return b, nil
}

// parse hands the root element of a part to f.
func (a *archive) parse(part string, f func(x *xmlReader, root xml.StartElement) error) error {
	r, err := a.open(part)
	if err != nil {
		return err
	}
	defer r.Close()
	x := a.newXML(r, part)
	return x.root(func(se xml.StartElement) error { return f(x, se) })
}

// relation is an entry of an OOXML part's relationships.
type relation struct {
	kind     string // last element of the type: "image", "slide"
	target   string // a part's name, or a URL if external
	external bool
}

// relations returns the relationships of a part by ID; "" is the package.
// A part without any has none.
func (a *archive) relations(part string) (map[string]relation, error) {
	dir, file := path.Split(part)
	name := dir + "_rels/" + file + ".rels"
	rels := map[string]relation{}
	if !a.has(name) {
		return rels, nil
	}
	err := a.parse(name, func(x *xmlReader, _ xml.StartElement) error {
		return x.each(func(se xml.StartElement) error {
			r := relation{
				kind:     base(attr(se, "Type")),
				target:   attr(se, "Target"),
				external: attr(se, "TargetMode") == "External",
			}
			if !r.external {
				r.target = resolve(dir, r.target)
			}
			rels[attr(se, "Id")] = r
			return nil
		})
	})
	return rels, a.optional(err, "the relationships of "+part)
}

// resolve returns the part that a reference from a folder names.
func resolve(dir, target string) string {
	target, _, _ = strings.Cut(target, "#")
	if u, err := url.PathUnescape(target); err == nil {
		target = u
	}
	if strings.HasPrefix(target, "/") {
		return path.Clean(target)[1:]
	}
	return strings.TrimPrefix(path.Join("/", dir, target), "/")
}

// related returns the target of the first relation of that kind.
func related(rels map[string]relation, kind string) string {
	best := ""
	for _, r := range rels {
		// Several are allowed for some kinds; take the same one every time.
		if r.kind == kind && !r.external && (best == "" || r.target < best) {
			best = r.target
		}
	}
	return best
}

// properties reads title, author, dates and language (OOXML core properties).
func (a *archive) properties(part string) error {
	if part == "" || !a.has(part) {
		return nil
	}
	err := a.parse(part, func(x *xmlReader, _ xml.StartElement) error {
		return x.each(func(se xml.StartElement) error {
			s, err := x.text()
			if err != nil {
				return err
			}
			s = strings.TrimSpace(s)
			switch se.Name.Local {
			case "title":
				a.facts.Title = s
			case "creator":
				a.facts.Author = s
			case "created":
				a.facts.Created = timestamp(s)
			case "modified":
				a.facts.Modified = timestamp(s)
			case "language":
				a.facts.Language = s
			}
			return nil
		})
	})
	return a.optional(err, "the properties of the document")
}

// main returns the part that holds an OOXML document and reads its properties.
func (a *archive) main(fallback string) (string, error) {
	rels, err := a.relations("")
	if err != nil {
		return "", err
	}
	if err := a.properties(related(rels, "core-properties")); err != nil {
		return "", err
	}
	if part := related(rels, "officeDocument"); part != "" {
		return part, nil
	}
	return fallback, nil
}
