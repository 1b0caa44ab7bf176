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

// Archive is the ZIP file that office documents and e-books are packed in.
type Archive struct {
	*Job
	files map[string]*zip.File // by lower-case name with forward slashes
}

// OpenArchive reads the directory of the ZIP file that a job is about.
func OpenArchive(j *Job) (*Archive, error) {
	if err := j.Alive(); err != nil {
		return nil, err
	}
	if len(j.In.Data) == 0 {
		return nil, j.Corrupt(errors.New("no bytes"), "its beginning")
	}
	if bytes.HasPrefix(j.In.Data, cfbMagic) {
		return nil, j.NotZIP()
	}
	z, err := zip.NewReader(bytes.NewReader(j.In.Data), int64(len(j.In.Data)))
	if err != nil && !errors.Is(err, zip.ErrInsecurePath) { // no name is ever written to
		return nil, j.Corrupt(err, "the directory of the archive")
	}
	z.RegisterDecompressor(zip.Deflate, j.inflate)
	// Parts are no documents: a manual has a part for each of its pictures. The
	// bound is what a ZIP archive of the first version holds.
	const mostParts = 1<<16 - 1
	if limit := j.In.Limits.Files; limit > 0 && len(z.File) > max(limit, mostParts) {
		return nil, j.tooLarge("files", "packs more than %d files", max(limit, mostParts))
	}
	a := &Archive{Job: j, files: make(map[string]*zip.File, len(z.File))}
	for _, f := range z.File {
		key := PartKey(f.Name)
		if _, dup := a.files[key]; !dup {
			a.files[key] = f
		}
	}
	return a, nil
}

// PartKey returns the name of a part as it is compared: names differ by case and
// by the direction of their slashes.
func PartKey(name string) string {
	return strings.ToLower(strings.TrimPrefix(strings.ReplaceAll(name, `\`, "/"), "/"))
}

// Has reports whether there is such a part.
func (a *Archive) Has(part string) bool { return a.files[PartKey(part)] != nil }

// open returns the bytes of a part, uncounted: Parse and Read count them.
func (a *Archive) open(part string) (io.ReadCloser, error) {
	f := a.files[PartKey(part)]
	if f == nil {
		return nil, a.Corrupt(errors.New("missing from the archive"), part)
	}
	if f.Flags&1 != 0 {
		return nil, a.Encrypted("password of the archive")
	}
	r, err := f.Open()
	if errors.Is(err, zip.ErrAlgorithm) {
		return nil, a.Unsupported(fmt.Sprintf("packs %s by compression method %d", part, f.Method),
			"pack it with deflate, which every office suite does")
	}
	return r, a.Corrupt(err, part)
}

// Read returns a part whole. It is for parts that another reader needs whole.
func (a *Archive) Read(part string) ([]byte, error) {
	r, err := a.open(part)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	b, err := io.ReadAll(&countedReader{r: r, job: a.Job})
	if err != nil {
		return nil, a.Corrupt(err, part)
	}
	return b, nil
}

// Parse hands the root element of a part to f.
func (a *Archive) Parse(part string, f func(x *XML, root xml.StartElement) error) error {
	r, err := a.open(part)
	if err != nil {
		return err
	}
	defer r.Close()
	x := a.newXML(r, part)
	defer x.release()
	return x.root(func(se xml.StartElement) error { return f(x, se) })
}

// Relation is an entry of an OOXML part's relationships.
type Relation struct {
	Kind     string // last element of the type: "image", "slide"
	Target   string // a part's name, or a URL if external
	External bool
}

// Relations returns the relationships of a part by ID; "" is the package.
// A part without any has none.
func (a *Archive) Relations(part string) (map[string]Relation, error) {
	dir, file := path.Split(part)
	name := dir + "_rels/" + file + ".rels"
	rels := map[string]Relation{}
	if !a.Has(name) {
		return rels, nil
	}
	err := a.Parse(name, func(x *XML, _ xml.StartElement) error {
		return x.Each(func(se xml.StartElement) error {
			r := Relation{
				Kind:     Base(Attr(se, "Type")),
				Target:   Attr(se, "Target"),
				External: Attr(se, "TargetMode") == "External",
			}
			if !r.External {
				r.Target = Resolve(dir, r.Target)
			}
			rels[Attr(se, "Id")] = r
			return nil
		})
	})
	return rels, a.Optional(err, "the relationships of "+part)
}

// Resolve returns the part that a reference from a folder names.
func Resolve(dir, target string) string {
	target, _, _ = strings.Cut(target, "#")
	if u, err := url.PathUnescape(target); err == nil {
		target = u
	}
	if strings.HasPrefix(target, "/") {
		return path.Clean(target)[1:]
	}
	return strings.TrimPrefix(path.Join("/", dir, target), "/")
}

// Related returns the target of the first relation of that kind.
func Related(rels map[string]Relation, kind string) string {
	best := ""
	for _, r := range rels {
		// Several are allowed for some kinds; take the same one every time.
		if r.Kind == kind && !r.External && (best == "" || r.Target < best) {
			best = r.Target
		}
	}
	return best
}

// properties reads title, author, dates and language (OOXML core properties).
func (a *Archive) properties(part string) error {
	if part == "" || !a.Has(part) {
		return nil
	}
	err := a.Parse(part, func(x *XML, _ xml.StartElement) error {
		return x.Each(func(se xml.StartElement) error {
			s, err := x.Text()
			if err != nil {
				return err
			}
			s = strings.TrimSpace(s)
			switch se.Name.Local {
			case "title":
				a.Facts.Title = s
			case "creator":
				a.Facts.Author = s
			case "created":
				a.Facts.Created = Timestamp(s)
			case "modified":
				a.Facts.Modified = Timestamp(s)
			case "language":
				a.Facts.Language = s
			}
			return nil
		})
	})
	return a.Optional(err, "the properties of the document")
}

// Main returns the part that holds an OOXML document and reads its properties.
func (a *Archive) Main(fallback string) (string, error) {
	rels, err := a.Relations("")
	if err != nil {
		return "", err
	}
	if err := a.properties(Related(rels, "core-properties")); err != nil {
		return "", err
	}
	if part := Related(rels, "officeDocument"); part != "" {
		return part, nil
	}
	return fallback, nil
}
