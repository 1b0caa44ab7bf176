package pdf

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/klippa-app/go-pdfium/requests"
)

// Associated files (ISO 32000-2, 14.13) belong to the document, a page, or whatever
// object has them in its entry /AF. They should be in the document's list of files as
// well, and often are not. pdfium only knows that list. So the file is written anew by
// pdfium, with a list of those that the one before lacks, and that file is read instead.

// listAssociated has the file read with such a list. It reports false if there is none.
func (f *file) listAssociated(ctx context.Context, d *document) (bool, error) {
	if !f.associated {
		return false, nil
	}
	warning := func(err error) {
		d.warnings = append(d.warnings, "files may be attached that are not in its list and are not read: "+brief(err))
	}
	r, err := f.instance.FPDF_SaveAsCopy(&requests.FPDF_SaveAsCopy{Document: f.doc, Flags: requests.SaveFlagRemoveSecurity})
	if err != nil {
		warning(err)
		if trapped(err) {
			return false, f.restart(ctx)
		}
		return false, nil
	}
	if r.FileBytes == nil {
		return false, nil
	}
	data, err := withList(*r.FileBytes)
	if err != nil {
		warning(err)
		return false, nil
	}
	if data == nil {
		return false, nil
	}
	whole := f.in.Data
	f.close()
	f.in.Data = data
	if err := f.load(ctx); err != nil {
		warning(err)
		f.in.Data = whole
		return false, f.load(ctx)
	}
	return true, nil
}

// withList adds a catalog to a file as pdfium writes it, whose list of files has those
// associated ones that the list so far has not. It returns nil if there are none.
func withList(data []byte) ([]byte, error) {
	l := layers{data: data, objects: map[int]*value{}}
	trailer, err := l.parse()
	if err != nil {
		return nil, err
	}
	root := trailer.get("Root")
	catalog := l.at(root)
	if catalog == nil || catalog.kind != 'd' || root.kind != 'r' {
		return nil, errNotWritten
	}
	a := associated{layers: &l, seen: map[int]bool{}}
	a.list(l.at(catalog.get("Names")).get("EmbeddedFiles"), 0)
	a.find(catalog, 0)
	for _, n := range slices.Sorted(maps.Keys(l.objects)) {
		a.find(l.objects[n], 0)
	}
	if l.steps > maxLayerSteps {
		return nil, fmt.Errorf("there are too many objects")
	}
	if len(a.specs) == 0 {
		return nil, nil
	}
	start := bytes.LastIndex(data, []byte("startxref"))
	p := valueParser{data: data, pos: start + len("startxref")}
	before, _ := p.number()
	out := bytes.NewBuffer(slices.Clone(data))
	out.WriteByte('\n')
	at := out.Len()
	fmt.Fprintf(out, "%d 0 obj\n<< ", root.ref)
	for _, key := range slices.Sorted(maps.Keys(catalog.dict)) {
		if v := catalog.dict[key]; key != "Names" {
			fmt.Fprintf(out, "/%s %s ", key, data[v.from:v.to])
		}
	}
	out.WriteString("/Names << /EmbeddedFiles << /Names [")
	for i, s := range a.specs {
		fmt.Fprintf(out, "(%06d) %s ", i, s)
	}
	out.WriteString("] >> >> >>\nendobj\n")
	table := out.Len()
	fmt.Fprintf(out, "xref\n%d 1\n%010d 00000 n \ntrailer\n<< /Root %d 0 R /Size %d /Prev %d >>\nstartxref\n%d\n%%%%EOF\n",
		root.ref, at, root.ref, 1+slices.Max(slices.Collect(maps.Keys(l.objects))), before, table)
	return out.Bytes(), nil
}

// associated collects the specifications of associated files.
type associated struct {
	layers *layers
	seen   map[int]bool // objects that are listed already
	specs  []string     // as they are written in the file
}

// list marks what a tree of names lists.
func (a *associated) list(tree *value, depth int) {
	if tree = a.layers.at(tree); tree == nil || depth > maxNesting || !a.layers.step() {
		return
	}
	if names := a.layers.at(tree.get("Names")); names != nil {
		for _, v := range names.array {
			if v.kind == 'r' {
				a.seen[v.ref] = true
			}
		}
	}
	if kids := a.layers.at(tree.get("Kids")); kids != nil {
		for _, k := range kids.array {
			a.list(k, depth+1)
		}
	}
}

// find collects the files of an object and all within it.
func (a *associated) find(v *value, depth int) {
	if v == nil || depth > maxNesting || !a.layers.step() {
		return
	}
	for _, k := range v.array {
		a.find(k, depth+1)
	}
	if v.kind != 'd' {
		return
	}
	for _, key := range slices.Sorted(maps.Keys(v.dict)) {
		a.find(v.dict[key], depth+1)
	}
	files := v.get("AF")
	if list := a.layers.at(files); list != nil && list.kind == 'a' {
		for _, s := range list.array {
			a.add(s)
		}
		return
	}
	a.add(files)
}

// add collects a file that is within the document.
func (a *associated) add(spec *value) {
	s := a.layers.at(spec)
	if s == nil || a.layers.at(s.get("EF")) == nil || len(a.specs) >= maxAttachments {
		return
	}
	if spec.kind == 'r' {
		if a.seen[spec.ref] {
			return
		}
		a.seen[spec.ref] = true
	}
	a.specs = append(a.specs, string(a.layers.data[spec.from:spec.to]))
}
