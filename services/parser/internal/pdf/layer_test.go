package pdf

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// layer adds a layer and returns a reference to it.
func (m *made) layer(name, more string) string {
	return m.object("<< /Type /OCG /Name (" + name + ") " + more + " >>")
}

// in writes a line that belongs to a layer of the given name in the page's resources.
func (s *sheet) in(property string, y float64, text string) {
	fmt.Fprintf(&s.content, "/OC /%s BDC\n", property)
	s.text(roman, 10, 72, y, text)
	s.content.WriteString("EMC\n")
}

func TestLayers(t *testing.T) {
	testReads(t, []readTest{
		{"one on, one off", func(m *made) {
			on, off := m.layer("English", ""), m.layer("German", "")
			m.catalog = "/OCProperties << /OCGs [" + on + " " + off + "] /D << /ON [" + on + "] /OFF [" + off + "] >> >>"
			s := m.sheet()
			s.properties = "/On " + on + " /Off " + off
			s.in("Off", 700, "Guten Tag.")
			s.in("On", 700, "Good day.")
		}, "Good day.\n"},
		{"all on", func(m *made) {
			on := m.layer("English", "")
			m.catalog = "/OCProperties << /OCGs [" + on + "] /D << /Order [" + on + "] >> >>"
			s := m.sheet()
			s.properties = "/On " + on
			s.in("On", 700, "Good day.")
		}, "Good day.\n"},
		{"all off but one", func(m *made) {
			on, off := m.layer("English", ""), m.layer("German", "")
			config := m.object("<< /BaseState /OFF /ON [" + on + "] >>")
			m.catalog = "/OCProperties << /OCGs [" + on + " " + off + "] /D " + config + " >>"
			s := m.sheet()
			s.properties = "/On " + on + " /Off " + off
			s.in("Off", 700, "Guten Tag.")
			s.in("On", 700, "Good day.")
		}, "Good day.\n"},
		{"off on a screen", func(m *made) {
			print := m.layer("Print", "/Usage << /View << /ViewState /OFF >> /Print << /PrintState /ON >> >>")
			m.catalog = "/OCProperties << /OCGs [" + print + "] /D << /AS [<< /Event /View /Category [/View] /OCGs [" + print + "] >>] >> >>"
			s := m.sheet()
			s.properties = "/P " + print
			s.lines(72, 700, "Good day.")
			s.in("P", 600, "Cut here.")
		}, "Good day.\n"},
		{"rules over layers", func(m *made) {
			on, off := m.layer("A", ""), m.layer("B", "")
			m.catalog = "/OCProperties << /OCGs [" + on + " " + off + "] /D << /OFF [" + off + "] >> >>"
			s := m.sheet()
			both := "[" + on + " " + off + "]"
			for i, r := range []string{
				"/OCGs " + off, "/OCGs " + both, "/OCGs " + both + " /P /AllOn", "/OCGs " + both + " /P /AllOff", "/OCGs " + both + " /P /AnyOff",
				"/VE [/Not " + off + "]", "/VE [/And " + on + " " + off + "]", "/VE [/Or " + off + " [/And " + on + " [/Not " + off + "]]]", "",
			} {
				s.properties += fmt.Sprintf("/R%d %s ", i, m.object("<< /Type /OCMD "+r+" >>"))
				s.in(fmt.Sprintf("R%d", i), 700-40*float64(i), fmt.Sprintf("Rule %d.", i))
			}
		}, "Rule 1.\n\nRule 4.\n\nRule 5.\n\nRule 7.\n\nRule 8.\n"},
		{"forms", func(m *made) {
			off := m.layer("Draft", "")
			m.catalog = "/OCProperties << /OCGs [" + off + "] /D << /OFF [" + off + "] >> >>"
			s := m.sheet()
			s.properties = "/Off " + off
			s.lines(72, 700, "Good day.")
			text := func(s string) string { return "BT /F1 10 Tf 72 600 Td (" + s + ") Tj ET" }
			s.forms = "/A " + m.formObject(612, 792, "/OC "+off, "", text("DRAFT A")) +
				" /B " + m.formObject(612, 792, "", "", text("DRAFT B")) +
				" /C " + m.formObject(612, 792, "", "/Properties << /Off "+off+" >>", "/OC /Off BDC "+text("DRAFT C")+" EMC BT /F1 10 Tf 72 660 Td (Not a draft.) Tj ET")
			s.content.WriteString("/A Do\n/OC /Off BDC /B Do EMC\n/C Do\n")
		}, "Good day.\n\nNot a draft.\n"},
		{"annotations", func(m *made) {
			off := m.layer("Remarks", "")
			m.catalog = "/OCProperties << /OCGs [" + off + "] /D << /OFF [" + off + "] >> >>"
			s := m.sheet()
			s.lines(72, 700, "Good day.")
			s.annot(m, "FreeText", 72, 600, 200, 616, "/OC "+off+" /Contents (typed) /AP << /N "+m.appearance(128, 16, shows("typed"))+" >>")
			s.annot(m, "Text", 72, 500, 90, 520, "/OC "+off+" /Contents (a note)")
			s.annot(m, "FreeText", 72, 400, 200, 416, "/Contents (seen) /AP << /N "+m.appearance(128, 16, shows("seen"))+" >>")
			s.properties = "/Off " + off
			s.in("Off", 650, "Guten Tag.")
		}, "Good day.\n\nseen\n"},
	})
}

// TestLayersInPackedObjects has the catalog where only unpacking finds it.
func TestLayersInPackedObjects(t *testing.T) {
	pack := func(content string) []byte {
		var m made
		s := m.sheet()
		s.lines(72, 700, "Good day.")
		m.object(stream("/Type /ObjStm /N 1 /First 4 /Filter /FlateDecode", deflate(t, content)))
		return m.bytes(t)
	}
	if !mentions(pack("1 0 << /Type /Catalog /OCProperties << >> >>")).layers {
		t.Error("layers in a packed catalog are not seen")
	}
	if m := mentions(pack("1 0 << /Type /Catalog /AFRelationship /Data >>")); m.layers || m.associated {
		t.Error("a packed catalog without layers is taken for one with layers")
	}
}

func FuzzMarkLayers(f *testing.F) {
	var m made
	off := m.layer("B", "")
	m.catalog = "/OCProperties << /OCGs [" + off + "] /D << /OFF [" + off + "] /AS [<< /Event /View /OCGs [" + off + "] >>] >> >>"
	s := m.sheet()
	s.properties = "/R " + m.object("<< /Type /OCMD /VE [/Not [/And "+off+" "+off+"]] >>")
	s.in("R", 700, "x")
	f.Add(m.bytes(f))
	f.Add([]byte("xref\n0 1\n0000000000 65535 f\ntrailer << /Root 1 0 R >>\nstartxref\n0\n%%EOF"))
	f.Add([]byte("1 0 obj [[[[<</A (\\()>>]\nxref\n1 1\n0000000000 00000 n\ntrailer<</Root 1 0 R>>startxref 24"))
	f.Fuzz(func(t *testing.T, data []byte) {
		n := len(data)
		before := bytes.Clone(data)
		got, err := markLayers(data)
		if err == nil && len(got) != n {
			t.Errorf("%d bytes of %d", len(got), n)
		}
		if err != nil && !bytes.Equal(before, data) {
			t.Error("refused, and changed")
		}
	})
}

func TestVisibilityIsBounded(t *testing.T) {
	deep := strings.Repeat("[/Not ", 500) + strings.Repeat("]", 500)
	p := valueParser{data: []byte(deep)}
	l := layers{data: []byte(deep), objects: map[int]*value{}}
	l.visible(p.value(0), 0)
	loop := &value{kind: 'r', ref: 1}
	l.objects[1] = &value{kind: 'a', array: []*value{{kind: 'n', name: "Not"}, loop}}
	l.visible(loop, 0)
}
