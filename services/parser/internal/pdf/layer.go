package pdf

import (
	"bytes"
	"compress/zlib"
	"context"
	"errors"
	"io"
	"regexp"
	"strconv"
	"strings"

	"github.com/klippa-app/go-pdfium/references"
	"github.com/klippa-app/go-pdfium/requests"
)

// Layers (optional content, ISO 32000-1, 8.11) that are off are not on the page.
// pdfium knows that when it draws and not when it extracts text, and it has no
// function that tells which are off. So the file is written anew by pdfium, which
// leaves every object as plain text; what belongs to a layer that is off is marked
// there, in place and without changing its length; and that file is read instead.
//
//	a layer that is off               gets a /Type by which its content is known
//	a form or picture of such a layer gets a /Subtype that nobody draws
//	an annotation of such a layer     gets a /Subtype that nobody knows

var errNoLayers = errors.New("no layer is off")

// mention is what a file may have, as far as can be told without reading its objects.
type mention struct {
	layers     bool // their list is an entry of the catalog
	associated bool // files that an object names as its own
}

func (m *mention) look(data []byte) {
	m.layers = m.layers || bytes.Contains(data, []byte("/OCProperties"))
	for rest := data; !m.associated; {
		key := []byte("/AF")
		i := bytes.Index(rest, key)
		if i < 0 {
			break
		}
		rest = rest[i+len(key):]
		m.associated = len(rest) > 0 && !isRegular(rest[0]) // and not /AFRelationship
	}
}

// mentions looks for what a file may have, also in objects that are packed.
func mentions(data []byte) (m mention) {
	m.look(data)
	packed := objectStream.FindAllIndex(data, -1)
	if len(packed) > 0 && bytes.Contains(data, []byte("/Encrypt")) {
		return mention{layers: true, associated: true} // it cannot be seen from outside
	}
	left := int64(64 << 20) // bytes to unpack; beyond it, layers are all taken for on
	for _, at := range packed {
		rest := data[at[1]:]
		i := bytes.Index(rest[:min(len(rest), 2000)], []byte("stream"))
		if i < 0 {
			continue
		}
		rest = bytes.TrimLeft(rest[i+len("stream"):], "\r\n")
		z, err := zlib.NewReader(bytes.NewReader(rest))
		if err != nil {
			continue
		}
		// What is damaged, pdfium repairs or refuses.
		plain, _ := io.ReadAll(io.LimitReader(z, min(left, 4<<20)))
		m.look(plain)
		if left -= int64(len(plain)); left <= 0 || m.layers && m.associated {
			break
		}
	}
	return m
}

var objectStream = regexp.MustCompile(`/Type\s*/ObjStm`)

// hideLayers has the file read without the layers that are off.
func (f *file) hideLayers(ctx context.Context, d *document) error {
	found := mentions(f.in.Data)
	f.associated = found.associated
	if !found.layers {
		return nil
	}
	const warning = "layers that are off may be in the text: "
	r, err := f.instance.FPDF_SaveAsCopy(&requests.FPDF_SaveAsCopy{Document: f.doc, Flags: requests.SaveFlagRemoveSecurity})
	if err != nil {
		d.warnings = append(d.warnings, warning+brief(err))
		if trapped(err) {
			return f.restart(ctx)
		}
		return nil
	}
	if r.FileBytes == nil {
		return nil
	}
	marked, err := markLayers(*r.FileBytes)
	if errors.Is(err, errNoLayers) {
		return nil
	}
	if err != nil {
		d.warnings = append(d.warnings, warning+err.Error())
		return nil
	}
	whole := f.in.Data
	f.close()
	f.in.Data = marked
	if err := f.load(ctx); err != nil {
		d.warnings = append(d.warnings, warning+"its copy cannot be opened")
		f.in.Data = whole
		return f.load(ctx)
	}
	f.layersOff = true
	return nil
}

// maxLayerObjects bounds the objects that are looked at for their layer.
const maxLayerObjects = 500_000

// removeLayers takes what belongs to layers that are off from a page.
func (f *file) removeLayers(ref requests.Page) error {
	n, err := f.instance.FPDFPage_CountObjects(&requests.FPDFPage_CountObjects{Page: ref})
	if err != nil {
		return err
	}
	for i := n.Count - 1; i >= 0; i-- {
		o, err := f.instance.FPDFPage_GetObject(&requests.FPDFPage_GetObject{Page: ref, Index: i})
		if err != nil {
			if trapped(err) {
				return err
			}
			continue
		}
		off, err := f.isOff(o.PageObject, 0)
		if err != nil {
			return err
		}
		if off {
			if _, err := f.instance.FPDFPage_RemoveObject(&requests.FPDFPage_RemoveObject{Page: ref, PageObject: o.PageObject}); err != nil && trapped(err) {
				return err
			}
		}
	}
	return nil
}

// isOff reports whether an object belongs to a layer that is off. From a form that
// does not, it takes the objects that do.
func (f *file) isOff(o references.FPDF_PAGEOBJECT, depth int) (bool, error) {
	const deepest = 6
	if f.layered++; f.layered > maxLayerObjects || depth > deepest {
		return false, nil
	}
	marks, err := f.instance.FPDFPageObj_CountMarks(&requests.FPDFPageObj_CountMarks{PageObject: o})
	if err != nil {
		return false, ifTrapped(err)
	}
	for i := range marks.Count {
		m, err := f.instance.FPDFPageObj_GetMark(&requests.FPDFPageObj_GetMark{PageObject: o, Index: uint64(i)})
		if err != nil {
			return false, ifTrapped(err)
		}
		v, err := f.instance.FPDFPageObjMark_GetParamStringValue(&requests.FPDFPageObjMark_GetParamStringValue{PageObjectMark: m.Mark, Key: "Type"})
		if err != nil {
			if trapped(err) {
				return false, err
			}
			continue // a mark of another kind
		}
		if v.Value == layerOff {
			return true, nil
		}
	}
	n, err := f.instance.FPDFFormObj_CountObjects(&requests.FPDFFormObj_CountObjects{PageObject: o})
	if err != nil {
		return false, ifTrapped(err) // no form
	}
	for i := n.Count - 1; i >= 0; i-- {
		k, err := f.instance.FPDFFormObj_GetObject(&requests.FPDFFormObj_GetObject{PageObject: o, Index: uint64(i)})
		if err != nil {
			if trapped(err) {
				return false, err
			}
			continue
		}
		off, err := f.isOff(k.PageObject, depth+1)
		if err != nil {
			return false, err
		}
		if off {
			// The wrapper calls the form PageObject, and what is in it FormObject.
			if _, err := f.instance.FPDFFormObj_RemoveObject(&requests.FPDFFormObj_RemoveObject{PageObject: o, FormObject: k.PageObject}); err != nil && trapped(err) {
				return false, err
			}
		}
	}
	return false, nil
}

// layerOff is the type of layers that are off: a string, which no file has there.
const layerOff = "-"

// value is an object of a PDF file: a name, a number as it is written, a dict, an
// array, or a reference. Strings and the rest are kept as "" of kind 0.
type value struct {
	kind     byte // 'n' name, 'd' dict, 'a' array, 'r' reference, '#' number
	name     string
	ref      int
	dict     map[string]*value
	array    []*value
	from, to int // where it is written
}

func (v *value) get(key string) *value {
	if v == nil || v.kind != 'd' {
		return nil
	}
	return v.dict[key]
}

func (v *value) isName(name string) bool { return v != nil && v.kind == 'n' && v.name == name }

// layers reads the objects of a file as pdfium writes them.
type layers struct {
	data    []byte
	objects map[int]*value
	off     map[int]bool
	names   []name
	steps   int // of looking at members of lists, which may be shared
}

// name is what is to be written over a value.
type name struct {
	of *value
	to string
}

// maxLayerSteps bounds what files can make of lists that refer to themselves or
// to each other.
const maxLayerSteps = 2_000_000

// step reports whether there may be one more.
func (l *layers) step() bool {
	l.steps++
	return l.steps <= maxLayerSteps
}

// markLayers marks, in a file as pdfium writes it, what belongs to layers that are
// off. It changes data. The error is errNoLayers if none is off.
func markLayers(data []byte) ([]byte, error) {
	l := layers{data: data, objects: map[int]*value{}, off: map[int]bool{}}
	trailer, err := l.parse()
	if err != nil {
		return nil, err
	}
	properties := l.at(l.at(trailer.get("Root")).get("OCProperties"))
	if properties == nil {
		return nil, errNoLayers
	}
	l.state(properties)
	if len(l.off) == 0 {
		return nil, errNoLayers
	}
	for n, o := range l.objects {
		if l.off[n] {
			l.names = append(l.names, name{o.get("Type"), "(" + layerOff + ")"})
		}
		l.mark(o, 0)
	}
	if l.steps > maxLayerSteps {
		return nil, errors.New("they are too many")
	}
	for _, n := range l.names {
		l.rename(n.of, n.to)
	}
	return data, nil
}

// state finds out which layers are off when a viewer opens the file.
func (l *layers) state(properties *value) {
	config := l.at(properties.get("D"))
	each := func(list *value, f func(ref int)) {
		if list = l.at(list); list != nil {
			for _, v := range list.array {
				if v.kind == 'r' && l.step() {
					f(v.ref)
				}
			}
		}
	}
	if l.at(config.get("BaseState")).isName("OFF") {
		each(properties.get("OCGs"), func(ref int) { l.off[ref] = true })
	}
	each(config.get("ON"), func(ref int) { delete(l.off, ref) })
	each(config.get("OFF"), func(ref int) { l.off[ref] = true })
	// Viewers switch some for themselves.
	usages := l.at(config.get("AS"))
	if usages == nil {
		return
	}
	for _, u := range usages.array {
		u = l.at(u)
		if !l.at(u.get("Event")).isName("View") {
			continue
		}
		each(u.get("OCGs"), func(ref int) {
			switch view := l.at(l.at(l.at(l.objects[ref].get("Usage")).get("View")).get("ViewState")); {
			case view.isName("OFF"):
				l.off[ref] = true
			case view.isName("ON"):
				delete(l.off, ref)
			}
		})
	}
}

// hidden reports whether a layer, or a rule over layers (OCMD), is off.
func (l *layers) hidden(v *value) bool {
	if v == nil {
		return false
	}
	if v.kind == 'r' && l.off[v.ref] {
		return true
	}
	v = l.at(v)
	if !v.get("Type").isName("OCMD") {
		return false
	}
	if rule := l.at(v.get("VE")); rule != nil {
		return !l.visible(rule, 0)
	}
	var members []*value
	switch groups := v.get("OCGs"); {
	case groups == nil:
	case groups.kind == 'r' && l.at(groups) != nil && l.at(groups).kind != 'a':
		members = []*value{groups}
	case l.at(groups) != nil:
		members = l.at(groups).array
	}
	on, off := 0, 0
	for _, m := range members {
		if m.kind != 'r' || !l.step() {
			continue
		}
		if l.off[m.ref] {
			off++
		} else {
			on++
		}
	}
	if on+off == 0 {
		return false
	}
	switch policy := l.at(v.get("P")); {
	case policy.isName("AllOn"):
		return off > 0
	case policy.isName("AnyOff"):
		return off == 0
	case policy.isName("AllOff"):
		return on > 0
	}
	return on == 0 // AnyOn
}

// visible evaluates a visibility expression.
func (l *layers) visible(v *value, depth int) bool {
	const deepest = 20
	if v.kind == 'r' && l.objects[v.ref].get("Type").isName("OCG") {
		return !l.off[v.ref]
	}
	if v = l.at(v); v == nil || len(v.array) == 0 || depth > deepest || !l.step() {
		return true
	}
	op, rest := v.array[0], v.array[1:]
	for _, r := range rest {
		switch on := l.visible(r, depth+1); {
		case op.isName("Not"):
			return !on
		case op.isName("And") && !on:
			return false
		case op.isName("Or") && on:
			return true
		}
	}
	return !op.isName("Or")
}

// mark marks what belongs to layers that are off in an object and all within it.
func (l *layers) mark(v *value, depth int) {
	if v == nil || depth > maxNesting {
		return
	}
	for _, k := range v.array {
		l.mark(k, depth+1)
	}
	for _, k := range v.dict {
		l.mark(k, depth+1)
	}
	if v.get("Type").isName("OCMD") && l.hidden(v) {
		l.names = append(l.names, name{v.get("Type"), "(" + layerOff + ")"})
	}
	if oc := v.get("OC"); oc != nil && l.hidden(oc) {
		if s := v.get("Subtype"); s != nil && s.kind == 'n' {
			l.names = append(l.names, name{s, "/" + strings.Repeat("X", s.to-s.from-1)})
		}
	}
}

// rename writes s over a value that is at least as long.
func (l *layers) rename(v *value, s string) {
	if v == nil || v.to-v.from < len(s) {
		return
	}
	n := copy(l.data[v.from:v.to], s)
	for i := v.from + n; i < v.to; i++ {
		l.data[i] = ' '
	}
}

// at follows references.
func (l *layers) at(v *value) *value {
	for range 10 {
		if v == nil || v.kind != 'r' {
			return v
		}
		v = l.objects[v.ref]
	}
	return nil
}

var errNotWritten = errors.New("its copy is not as expected")

// parse reads the cross-reference table, the objects and the trailer.
func (l *layers) parse() (*value, error) {
	i := bytes.LastIndex(l.data, []byte("startxref"))
	if i < 0 {
		return nil, errNotWritten
	}
	p := valueParser{data: l.data, pos: i + len("startxref")}
	start, ok := p.number()
	if !ok || start < 0 || start >= len(l.data) || !bytes.HasPrefix(l.data[start:], []byte("xref")) {
		return nil, errNotWritten
	}
	p.pos = start + len("xref")
	read := 0 // bytes of objects, which do not overlap
	for {
		first, ok := p.number()
		if !ok {
			break
		}
		count, ok := p.number()
		if !ok || count < 0 || count > len(l.data)/10 {
			return nil, errNotWritten
		}
		for n := first; n < first+count; n++ {
			at, ok := p.number()
			if !ok {
				return nil, errNotWritten
			}
			if _, ok = p.number(); !ok {
				return nil, errNotWritten
			}
			p.space()
			if p.pos >= len(p.data) {
				return nil, errNotWritten
			}
			used := p.data[p.pos] == 'n'
			p.pos++
			if used && at > 0 && at < len(l.data) {
				o := valueParser{data: l.data, pos: at}
				if _, ok := o.number(); !ok {
					continue
				}
				if _, ok := o.number(); !ok || !o.word("obj") {
					continue
				}
				l.objects[n] = o.value(0)
				if read += o.pos - at; read > len(l.data) {
					return nil, errNotWritten
				}
			}
		}
	}
	if !p.word("trailer") {
		return nil, errNotWritten
	}
	return p.value(0), nil
}

// maxNesting bounds how deep arrays and dictionaries may be within one another.
const maxNesting = 60

// valueParser reads the values that PDF files are made of.
type valueParser struct {
	data []byte
	pos  int
}

func (p *valueParser) space() {
	for p.pos < len(p.data) {
		switch p.data[p.pos] {
		case 0, '\t', '\n', '\f', '\r', ' ':
			p.pos++
		case '%':
			for p.pos < len(p.data) && p.data[p.pos] != '\n' && p.data[p.pos] != '\r' {
				p.pos++
			}
		default:
			return
		}
	}
}

func (p *valueParser) word(s string) bool {
	p.space()
	if !bytes.HasPrefix(p.data[p.pos:], []byte(s)) {
		return false
	}
	p.pos += len(s)
	return true
}

// number reads a whole number.
func (p *valueParser) number() (int, bool) {
	p.space()
	from := p.pos
	for p.pos < len(p.data) && p.data[p.pos] >= '0' && p.data[p.pos] <= '9' {
		p.pos++
	}
	n, err := strconv.Atoi(string(p.data[from:p.pos]))
	return n, err == nil
}

func isRegular(c byte) bool {
	switch c {
	case 0, '\t', '\n', '\f', '\r', ' ', '(', ')', '<', '>', '[', ']', '{', '}', '/', '%':
		return false
	}
	return true
}

// regular reads up to the next delimiter.
func (p *valueParser) regular() []byte {
	from := p.pos
	for p.pos < len(p.data) && isRegular(p.data[p.pos]) {
		p.pos++
	}
	return p.data[from:p.pos]
}

// value reads a value. It always moves on, unless at the end.
func (p *valueParser) value(depth int) *value {
	p.space()
	v := &value{from: p.pos}
	defer func() { v.to = p.pos }()
	if p.pos >= len(p.data) {
		return v
	}
	if depth > maxNesting {
		p.pos = len(p.data)
		return v
	}
	switch c := p.data[p.pos]; {
	case c == '/':
		p.pos++
		v.kind, v.name = 'n', string(p.regular())
	case p.word("<<"):
		v.kind, v.dict = 'd', map[string]*value{}
		for !p.word(">>") {
			if p.pos >= len(p.data) {
				return v
			}
			key := p.value(depth + 1)
			if key.kind != 'n' {
				continue
			}
			v.dict[key.name] = p.value(depth + 1)
		}
	case c == '[':
		p.pos++
		v.kind = 'a'
		for !p.word("]") {
			if p.pos >= len(p.data) {
				return v
			}
			v.array = append(v.array, p.value(depth+1))
		}
	case c == '<':
		for p.pos < len(p.data) && p.data[p.pos] != '>' {
			p.pos++
		}
		p.pos = min(p.pos+1, len(p.data))
	case c == '(':
		p.str()
	case c >= '0' && c <= '9':
		v.kind = '#'
		n, whole := p.number()
		if p.pos < len(p.data) && isRegular(p.data[p.pos]) { // 1.5
			p.regular()
			return v
		}
		// "12 0 R" is a reference.
		mark := p.pos
		if _, ok := p.number(); whole && ok && p.word("R") && (p.pos >= len(p.data) || !isRegular(p.data[p.pos])) {
			v.kind, v.ref = 'r', n
			return v
		}
		p.pos = mark
	case isRegular(c):
		p.regular()
	default:
		p.pos++
	}
	return v
}

// str skips a string in parentheses.
func (p *valueParser) str() {
	depth := 0
	for ; p.pos < len(p.data); p.pos++ {
		switch p.data[p.pos] {
		case '\\':
			p.pos++
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				p.pos++
				return
			}
		}
	}
	p.pos = min(p.pos, len(p.data))
}
