// Package xls reads workbooks of Excel 97 to 2003 (MS-XLS).
package xls

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"

	"golang.org/x/text/encoding"

	"sluice/services/parser/internal/format"
	"sluice/services/parser/internal/md"
	"sluice/services/parser/internal/office"
	"sluice/services/parser/internal/sheet"
)

// Record types of BIFF (MS-XLS 2.3), as far as they hold text or say how to show it.
const (
	recFormula    = 0x0006
	recEOF        = 0x000A
	recNote       = 0x001C
	recHeader     = 0x0014
	recFooter     = 0x0015
	recDateMode   = 0x0022
	recFilePass   = 0x002F
	recContinue   = 0x003C
	recCodePage   = 0x0042
	recObj        = 0x005D
	recBoundSheet = 0x0085
	recMergeCells = 0x00E5
	recMulRK      = 0x00BD
	recRString    = 0x00D6
	recXF         = 0x00E0
	recSST        = 0x00FC
	recLabelSST   = 0x00FD
	recTXO        = 0x01B6
	recHLink      = 0x01B8
	recNumber     = 0x0203
	recLabel      = 0x0204
	recBoolErr    = 0x0205
	recString     = 0x0207
	recRK         = 0x027E
	recFormat     = 0x041E
	recFormat5    = 0x001E
	recBOF        = 0x0809
	recFrames     = 0x089C // headers and footers of first and even pages
)

// xls reads the workbook stream of one file, BIFF8 (Excel 97 to 2003) or BIFF5.
type xls struct {
	*office.Compound
	stream   []byte
	biff8    bool
	page     encoding.Encoding // of BIFF5's strings
	date1904 bool
	strings  []string
	formats  map[int]*sheet.Format
	xfs      []int // format of each cell style
	unsure   bool  // a value whose format is not understood was seen
	sheets   []boundSheet
}

type boundSheet struct {
	name   string
	offset int
	hidden bool
	kind   byte // 0 worksheet, 2 chart
}

// XLS reads a workbook of Excel 5 to 2003, a page per sheet.
func XLS(ctx context.Context, in format.Input) (*format.Output, error) {
	j := office.NewJob(ctx, in)
	c, err := office.OpenCompound(j)
	if err != nil {
		return nil, err
	}
	if c.Has("EncryptedPackage") {
		return nil, j.Encrypted("password of the office suite")
	}
	name := "Workbook"
	if !c.Has(name) {
		name = "Book"
	}
	if !c.Has(name) {
		return nil, j.Unsupported("holds no workbook", "save it as .xlsx")
	}
	w := &xls{Compound: c, page: office.CodePage(1252), formats: map[int]*sheet.Format{}}
	if w.stream, err = c.Read(name); err != nil {
		return nil, err
	}
	if err := c.Summary(); err != nil {
		return nil, err
	}
	if err := w.globals(); err != nil {
		return nil, err
	}
	out, frames := &office.Document{}, &sheet.Frames{}
	for i, b := range w.sheets {
		if err := j.CountPages(i+1, "sheets"); err != nil {
			return nil, err
		}
		s := &sheet.Sheet{Name: b.name, Hidden: b.hidden, Links: map[string]string{}}
		if b.kind == 0 {
			if err := w.sheet(b, s); err != nil {
				return nil, err
			}
		} else {
			j.Warn("sheet %q is a chart or macro sheet and could not be read", b.name)
		}
		if err := s.AddTo(j, out, frames); err != nil {
			return nil, err
		}
	}
	if w.unsure {
		j.Warn(sheet.Unsure)
	}
	return j.Finish(out)
}

// record is one record with the records that continue it.
type record struct {
	kind  int
	at    int // in the stream
	data  []byte
	parts [][]byte // data, then what each CONTINUE holds
}

// records calls f for the records from an offset on, until f returns false.
func (w *xls) records(offset int, f func(r record) (more bool, err error)) error {
	for n, pos := 0, offset; ; n++ {
		if n%1024 == 0 {
			if err := w.Alive(); err != nil {
				return err
			}
		}
		if pos == len(w.stream) {
			return w.damage(pos, errCutOff)
		}
		kind, data, next, ok := w.recordAt(pos)
		if !ok {
			return w.damage(pos, errCutOff)
		}
		r := record{kind: kind, at: pos, data: data, parts: [][]byte{data}}
		for pos = next; ; {
			kind, data, next, ok := w.recordAt(pos)
			if !ok || kind != recContinue {
				break
			}
			r.parts = append(r.parts, data)
			pos = next
		}
		more, err := f(r)
		if err != nil || !more {
			return err
		}
	}
}

func (w *xls) recordAt(pos int) (kind int, data []byte, next int, ok bool) {
	if pos < 0 || pos+4 > len(w.stream) {
		return 0, nil, 0, false
	}
	kind, size := int(office.Le.Uint16(w.stream[pos:])), int(office.Le.Uint16(w.stream[pos+2:]))
	next = pos + 4 + size
	if next > len(w.stream) {
		return 0, nil, 0, false
	}
	return kind, w.stream[pos+4 : next], next, true
}

var errCutOff = errors.New("the stream ends before the workbook does")

func (w *xls) damage(pos int, err error) error {
	return w.Corrupt(err, fmt.Sprintf("byte %d of the workbook", pos))
}

// globals reads the first substream: strings, formats and the list of sheets.
func (w *xls) globals() error {
	first := true
	return w.records(0, func(r record) (bool, error) {
		d := r.data
		if first {
			first = false
			if r.kind != recBOF || len(d) < 4 {
				return false, w.damage(r.at, errors.New("no workbook begins here"))
			}
			switch office.Le.Uint16(d) {
			case 0x0600:
				w.biff8 = true
			case 0x0500:
			default:
				return false, w.Unsupported("is a workbook of Excel 4 or older", "save it as .xlsx")
			}
			return true, nil
		}
		switch r.kind {
		case recEOF:
			return false, nil
		case recFilePass:
			return false, w.Encrypted("password of the workbook")
		case recCodePage:
			if len(d) >= 2 {
				w.page = office.CodePage(int(office.Le.Uint16(d)))
			}
		case recDateMode:
			w.date1904 = len(d) >= 2 && office.Le.Uint16(d) == 1
		case recBoundSheet:
			if len(d) >= 7 {
				b := boundSheet{offset: int(office.Le.Uint32(d)), hidden: d[4]&3 != 0, kind: d[5]}
				b.name = w.shortString(d[6:])
				if b.kind != 6 { // Visual Basic
					w.sheets = append(w.sheets, b)
				}
			}
		case recFormat:
			if len(d) >= 2 {
				w.formats[int(office.Le.Uint16(d))] = sheet.Parse(w.longString(d[2:]))
			}
		case recXF:
			if len(d) >= 4 {
				w.xfs = append(w.xfs, int(office.Le.Uint16(d[2:])))
			}
		case recSST:
			return true, w.sharedStrings(r)
		}
		return true, nil
	})
}

// shortString reads a string behind one byte of length.
func (w *xls) shortString(d []byte) string {
	if len(d) == 0 {
		return ""
	}
	return w.chars(int(d[0]), d[1:])
}

// longString reads a string behind two bytes of length. In BIFF5, formats have
// one byte.
func (w *xls) longString(d []byte) string {
	if !w.biff8 || len(d) < 2 {
		return w.shortString(d)
	}
	return w.chars(int(office.Le.Uint16(d)), d[2:])
}

// chars reads n characters: BIFF8 says in a flag whether they are wide.
func (w *xls) chars(n int, d []byte) string {
	if !w.biff8 {
		return office.Decode(w.page, d[:min(n, len(d))])
	}
	if len(d) == 0 {
		return ""
	}
	if d[0]&1 != 0 {
		return office.Utf16LE(d[1:min(1+2*n, len(d))])
	}
	return office.Latin1(d[1:min(1+n, len(d))])
}

// segments reads through a record and its continuations. Characters that a
// continuation carries on begin with a flag of their own.
type segments struct {
	parts [][]byte
	off   int
}

// take returns up to n bytes, fewer only at the end of a part.
func (s *segments) take(n int) []byte {
	for len(s.parts) > 0 && s.off >= len(s.parts[0]) {
		s.parts, s.off = s.parts[1:], 0
	}
	if len(s.parts) == 0 {
		return nil
	}
	n = min(n, len(s.parts[0])-s.off)
	b := s.parts[0][s.off : s.off+n]
	s.off += n
	return b
}

// uint reads an integer of n bytes, 0 at the end.
func (s *segments) uint(n int) (v int) {
	for shift := 0; shift < 8*n; shift += 8 {
		if b := s.take(1); len(b) == 1 {
			v |= int(b[0]) << shift
		}
	}
	return v
}

func (s *segments) skip(n int) {
	for n > 0 {
		b := s.take(n)
		if len(b) == 0 {
			return
		}
		n -= len(b)
	}
}

func (s *segments) done() bool {
	for len(s.parts) > 0 && s.off >= len(s.parts[0]) {
		s.parts, s.off = s.parts[1:], 0
	}
	return len(s.parts) == 0
}

func (s *segments) chars(n int, wide bool) string {
	var b strings.Builder
	for n > 0 && len(s.parts) > 0 {
		if s.off >= len(s.parts[0]) {
			if s.done() {
				break
			}
			wide = s.uint(1)&1 != 0
			continue
		}
		if !wide {
			d := s.take(n)
			b.WriteString(office.Latin1(d))
			n -= len(d)
			continue
		}
		d := s.take(2 * n)
		b.WriteString(office.Utf16LE(d))
		n -= (len(d) + 1) / 2
	}
	return b.String()
}

func (w *xls) sharedStrings(r record) error {
	s := &segments{parts: r.parts}
	s.skip(4)
	count := s.uint(4)
	for i := 0; i < count && !s.done(); i++ {
		n := s.uint(2)
		flags := s.uint(1)
		runs, ext := 0, 0
		if flags&8 != 0 {
			runs = s.uint(2)
		}
		if flags&4 != 0 {
			ext = s.uint(4)
		}
		text := s.chars(n, flags&1 != 0)
		s.skip(4 * runs)
		s.skip(ext)
		if err := w.Unpack(len(text)); err != nil {
			return err
		}
		w.strings = append(w.strings, text)
	}
	return nil
}

// sheet reads the cells, comments, text boxes and links of one sheet.
func (w *xls) sheet(b boundSheet, s *sheet.Sheet) error {
	depth := 0 // a chart on the sheet is a substream within it
	object, isNote := 0, false
	texts := map[int]string{}
	type note struct {
		cell, author string
		object       int
	}
	var notes []note
	row, column, style := 0, 0, 0 // of the formula whose string follows
	err := w.records(b.offset, func(r record) (bool, error) {
		d := r.data
		switch r.kind {
		case recBOF:
			depth++
			return true, nil
		case recEOF:
			depth--
			return depth > 0, nil
		}
		if depth == 0 {
			return false, w.damage(r.at, fmt.Errorf("sheet %q does not begin here", b.name))
		}
		if depth > 1 {
			return true, nil
		}
		switch r.kind {
		case recObj:
			object, isNote = 0, false
			if len(d) >= 8 && office.Le.Uint16(d) == 0x15 {
				object, isNote = int(office.Le.Uint16(d[6:])), office.Le.Uint16(d[4:]) == 0x19
			}
			return true, nil
		case recTXO:
			if len(d) < 12 || len(r.parts) < 2 || len(r.parts[1]) == 0 {
				return true, nil
			}
			seg := &segments{parts: r.parts[1:]}
			wide := seg.uint(1)&1 != 0
			text := seg.chars(int(office.Le.Uint16(d[10:])), wide)
			if isNote {
				texts[object] = text
				return true, w.Spend(len(text))
			}
			for line := range strings.Lines(text) {
				s.Extra = append(s.Extra, office.Block{Text: office.Tidy(md.EscapeInline(line))})
			}
			return true, w.Spend(len(text))
		case recHeader:
			s.Header = append(s.Header, sheet.FrameOf(w.longString(d), s.Name)...)
			return true, w.Spend(len(d))
		case recFooter:
			s.Footer = append(s.Footer, sheet.FrameOf(w.longString(d), s.Name)...)
			return true, w.Spend(len(d))
		case recFrames:
			w.otherFrames(d, s)
			return true, w.Spend(len(d))
		case recNote:
			if w.biff8 && len(d) >= 10 {
				notes = append(notes, note{
					cell:   sheet.CellName(int(office.Le.Uint16(d)), int(office.Le.Uint16(d[2:]))),
					author: w.longString(d[8:]),
					object: int(office.Le.Uint16(d[6:])),
				})
			}
			return true, nil
		case recMergeCells:
			for i := 2; i+8 <= len(d); i += 8 {
				s.Grid.Merge(int(office.Le.Uint16(d[i:])), int(office.Le.Uint16(d[i+4:])), int(office.Le.Uint16(d[i+2:])), int(office.Le.Uint16(d[i+6:])))
			}
			return true, nil
		case recHLink:
			if url := hyperlinkURL(d); url != "" {
				s.Links[sheet.CellName(int(office.Le.Uint16(d)), int(office.Le.Uint16(d[4:])))] = url
			}
			return true, nil
		case recString:
			var text string
			if w.biff8 && len(d) >= 3 {
				seg := &segments{parts: r.parts}
				n := seg.uint(2)
				wide := seg.uint(1)&1 != 0
				text = seg.chars(n, wide)
			} else if len(d) >= 2 {
				text = w.chars(int(office.Le.Uint16(d)), d[2:])
			}
			return true, s.Grid.Set(w.Job, row, column, w.words(text, style))
		}
		if len(d) < 6 {
			return true, nil
		}
		var text string
		at, col, xf := int(office.Le.Uint16(d)), int(office.Le.Uint16(d[2:])), int(office.Le.Uint16(d[4:]))
		switch r.kind {
		case recLabelSST:
			if len(d) >= 10 {
				if i := int(office.Le.Uint32(d[6:])); i < len(w.strings) {
					text = w.words(w.strings[i], xf)
				}
			}
		case recLabel, recRString:
			if len(d) >= 8 {
				text = w.words(w.chars(int(office.Le.Uint16(d[6:])), d[8:]), xf)
			}
		case recNumber:
			if len(d) >= 14 {
				text = w.number(math.Float64frombits(office.Le.Uint64(d[6:])), xf)
			}
		case recRK:
			if len(d) >= 10 {
				text = w.number(rkNumber(office.Le.Uint32(d[6:])), xf)
			}
		case recMulRK:
			for i := 4; i+6 <= len(d)-2; i += 6 {
				text := w.number(rkNumber(office.Le.Uint32(d[i+2:])), int(office.Le.Uint16(d[i:])))
				if err := s.Grid.Set(w.Job, at, col+(i-4)/6, text); err != nil {
					return false, err
				}
			}
			return true, nil
		case recBoolErr:
			if len(d) >= 8 {
				text = boolOrError(d[6], d[7] != 0)
			}
		case recFormula:
			if len(d) < 14 {
				return true, nil
			}
			row, column, style = at, col, xf
			switch {
			case d[12] != 0xFF || d[13] != 0xFF:
				text = w.number(math.Float64frombits(office.Le.Uint64(d[6:])), xf)
			case d[6] == 1 || d[6] == 2:
				text = boolOrError(d[8], d[6] == 2)
			}
		}
		return true, s.Grid.Set(w.Job, at, col, text)
	})
	if err != nil {
		return err
	}
	for _, n := range notes {
		if err := s.Note(w.Job, n.cell, n.author, texts[n.object]); err != nil {
			return err
		}
	}
	return nil
}

// otherFrames reads the headers and footers of even and first pages, where these
// are set apart (MS-XLS 2.4.137).
func (w *xls) otherFrames(d []byte, s *sheet.Sheet) {
	const flagsAt, sizesAt, textAt = 28, 30, 38
	if len(d) < textAt {
		return
	}
	flags, sizes, rest := d[flagsAt], d[sizesAt:textAt], d[textAt:]
	for i, shown := range [...]bool{flags&1 != 0, flags&1 != 0, flags&2 != 0, flags&2 != 0} {
		if office.Le.Uint16(sizes[2*i:]) == 0 || len(rest) < 3 {
			continue
		}
		if blocks := sheet.FrameOf(w.longString(rest), s.Name); shown && i%2 == 0 {
			s.Header = append(s.Header, blocks...)
		} else if shown {
			s.Footer = append(s.Footer, blocks...)
		}
		n := int(office.Le.Uint16(rest))
		if rest[2]&1 != 0 {
			n *= 2
		}
		rest = rest[min(3+n, len(rest)):]
	}
}

// format returns the number format of a cell style.
func (w *xls) format(xf int) *sheet.Format {
	if xf >= len(w.xfs) {
		return sheet.General
	}
	f := w.formats[w.xfs[xf]]
	if f == nil {
		var known bool
		f, known = sheet.Builtin(w.xfs[xf])
		w.unsure = w.unsure || !known
		w.formats[w.xfs[xf]] = f
	}
	return f
}

func (w *xls) number(v float64, xf int) string {
	text, sure := w.format(xf).Number(v, w.date1904)
	w.unsure = w.unsure || !sure
	return text
}

func (w *xls) words(s string, xf int) string {
	text, sure := w.format(xf).Text(s)
	w.unsure = w.unsure || !sure
	return text
}

// rkNumber decodes a number in 32 bits (MS-XLS 2.5.122): an integer or the high
// half of a double, perhaps of a hundredth.
func rkNumber(rk uint32) float64 {
	var v float64
	if rk&2 != 0 {
		v = float64(int32(rk) >> 2)
	} else {
		v = math.Float64frombits(uint64(rk&^3) << 32)
	}
	if rk&1 != 0 {
		v /= 100
	}
	return v
}

func boolOrError(v byte, isError bool) string {
	if !isError {
		if v != 0 {
			return "TRUE"
		}
		return "FALSE"
	}
	switch v {
	case 0x00:
		return "#NULL!"
	case 0x07:
		return "#DIV/0!"
	case 0x0F:
		return "#VALUE!"
	case 0x17:
		return "#REF!"
	case 0x1D:
		return "#NAME?"
	case 0x24:
		return "#NUM!"
	}
	return "#N/A"
}

// hyperlinkURL returns the URL of an HLINK record (MS-XLS 2.4.140, MS-OSHARED
// 2.3.7.1), "" for links to files and places.
func hyperlinkURL(d []byte) string {
	const hasMoniker, hasDisplay, hasFrame, monikerIsString = 0x01, 0x10, 0x80, 0x100
	urlMoniker := []byte{0xE0, 0xC9, 0xEA, 0x79, 0xF9, 0xBA, 0xCE, 0x11, 0x8C, 0x82, 0x00, 0xAA, 0x00, 0x4B, 0xA9, 0x0B}
	if len(d) < 32 {
		return ""
	}
	flags := office.Le.Uint32(d[28:])
	d = d[32:]
	text := func() string {
		if len(d) < 4 {
			d = nil
			return ""
		}
		n := int(min(office.Le.Uint32(d), 1<<15)) * 2
		s := office.Utf16LE(d[4:min(4+n, len(d))])
		d = d[min(4+n, len(d)):]
		return strings.TrimRight(s, "\x00")
	}
	if flags&hasDisplay != 0 {
		text()
	}
	if flags&hasFrame != 0 {
		text()
	}
	switch {
	case flags&hasMoniker == 0:
		return ""
	case flags&monikerIsString != 0:
		return text()
	case len(d) < 20 || string(d[:16]) != string(urlMoniker):
		return ""
	}
	n := int(min(office.Le.Uint32(d[16:]), 1<<16))
	url, _, _ := strings.Cut(office.Utf16LE(d[20:min(20+n, len(d))]), "\x00")
	return url
}
