package office

import (
	"strings"
	"unicode/utf8"
)

// MathML is an element of presentation MathML, from whatever document it is in.
type MathML struct {
	Name string // without a prefix
	Text string // of elements that have no others in them
	Attr func(name string) string
	Kids []*MathML
}

// Latex returns the formula as LaTeX, without the dollar signs around it.
func (m *MathML) Latex() string { return strings.TrimSpace(m.latex()) }

// row returns children one after the other.
func (m *MathML) row() string {
	var b strings.Builder
	for i := 0; i < len(m.Kids); i++ {
		k := m.Kids[i]
		// Brackets that enclose a table are those of a matrix, and grow with it.
		if i+2 < len(m.Kids) && k.Name == "mo" && m.Kids[i+1].core().Name == "mtable" && m.Kids[i+2].Name == "mo" {
			joinMath(&b, `\left`+fence(strings.TrimSpace(k.Text))+m.Kids[i+1].latex()+`\right`+fence(strings.TrimSpace(m.Kids[i+2].Text)))
			i += 2
			continue
		}
		joinMath(&b, k.latex())
	}
	return b.String()
}

// core returns the element within rows of one.
func (m *MathML) core() *MathML {
	for len(m.Kids) == 1 && (m.Name == "mrow" || m.Name == "mstyle" || m.Name == "mpadded") {
		m = m.Kids[0]
	}
	return m
}

func (m *MathML) kid(i int) string {
	if i < len(m.Kids) {
		return m.Kids[i].latex()
	}
	return ""
}

func (m *MathML) attr(name string) string {
	if m.Attr == nil {
		return ""
	}
	return m.Attr(name)
}

// sign returns the operator that the i-th child is, or "".
func (m *MathML) sign(i int) string {
	if i < len(m.Kids) && m.Kids[i].core().Name == "mo" {
		return strings.TrimSpace(m.Kids[i].core().Text)
	}
	return ""
}

var overSigns = map[string]string{
	"^": `\hat`, "ˆ": `\hat`, "\u0302": `\hat`, "~": `\tilde`, "˜": `\tilde`, "\u0303": `\tilde`, "¯": `\overline`, "‾": `\overline`, "\u0304": `\overline`,
	"→": `\vec`, "⃗": `\vec`, "˙": `\dot`, ".": `\dot`, "¨": `\ddot`, "⏞": `\overbrace`, "︷": `\overbrace`, "ˇ": `\check`, "˘": `\breve`,
}

var underSigns = map[string]string{"_": `\underline`, "\u0332": `\underline`, "⏟": `\underbrace`, "︸": `\underbrace`}

// invisibleOperators are written to say what is multiplied or applied, and not shown.
const invisibleOperators = "\u2061\u2062\u2063\u2064"

func (m *MathML) latex() string {
	switch m.Name {
	case "annotation", "annotation-xml", "mphantom", "maligngroup", "malignmark", "none", "mprescripts":
		return ""
	case "mspace":
		return " "
	case "mi", "mn", "mo", "mtext", "ms":
		if len(m.Kids) > 0 && m.Text == "" {
			return m.row()
		}
		return m.token()
	case "semantics", "maction":
		return m.kid(0)
	case "msqrt":
		return `\sqrt{` + m.row() + "}"
	case "mroot":
		return `\sqrt[` + m.kid(1) + "]{" + m.kid(0) + "}"
	case "mfrac":
		if t := m.attr("linethickness"); t != "" && strings.Trim(t, "0.ptxem") == "" {
			return `\binom{` + m.kid(0) + "}{" + m.kid(1) + "}"
		}
		return `\frac{` + m.kid(0) + "}{" + m.kid(1) + "}"
	case "msup":
		return group(m.kid(0)) + "^{" + m.kid(1) + "}"
	case "msub":
		return group(m.kid(0)) + "_{" + m.kid(1) + "}"
	case "msubsup", "munderover":
		return group(m.kid(0)) + "_{" + m.kid(1) + "}^{" + m.kid(2) + "}"
	case "mover":
		if c := overSigns[m.sign(1)]; c != "" {
			return c + "{" + m.kid(0) + "}"
		}
		return group(m.kid(0)) + "^{" + m.kid(1) + "}"
	case "munder":
		if c := underSigns[m.sign(1)]; c != "" {
			return c + "{" + m.kid(0) + "}"
		}
		return group(m.kid(0)) + "_{" + m.kid(1) + "}"
	case "mmultiscripts":
		return m.multiscripts()
	case "mfenced":
		return m.fenced()
	case "menclose":
		switch n := m.attr("notation"); {
		case strings.Contains(n, "box"), strings.Contains(n, "circle"):
			return `\boxed{` + m.row() + "}"
		case strings.Contains(n, "radical"):
			return `\sqrt{` + m.row() + "}"
		case strings.Contains(n, "strike"):
			return `\cancel{` + m.row() + "}"
		}
		return m.row()
	case "mtable":
		rows := make([]string, 0, len(m.Kids))
		for _, r := range m.Kids {
			cells := make([]string, 0, len(r.Kids))
			for _, c := range r.Kids {
				cells = append(cells, c.latex())
			}
			rows = append(rows, strings.Join(cells, " & "))
		}
		return `\begin{matrix}` + strings.Join(rows, ` \\ `) + `\end{matrix}`
	}
	if len(m.Kids) == 0 && strings.TrimSpace(m.Text) != "" {
		return latex(strings.TrimSpace(m.Text))
	}
	return m.row()
}

func (m *MathML) token() string {
	s := strings.TrimSpace(strings.Map(func(r rune) rune {
		if strings.ContainsRune(invisibleOperators, r) {
			return -1
		}
		return r
	}, m.Text))
	if s == "" {
		return ""
	}
	if command, ok := mathFunctions[s]; ok {
		return command
	}
	switch {
	case m.Name == "mtext" || m.Name == "ms":
		return `\text{` + escapeLatex(s) + "}"
	case m.Name == "mi" && utf8.RuneCountInString(s) > 1 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") == "":
		return `\mathrm{` + s + "}"
	}
	return latex(s)
}

func (m *MathML) multiscripts() string {
	var before, after strings.Builder
	b, second := &after, false
	for i := 1; i < len(m.Kids); i++ {
		if m.Kids[i].Name == "mprescripts" {
			b, second = &before, false
			b.WriteString("{}")
			continue
		}
		if s := m.kid(i); s != "" {
			mark := "_{"
			if second {
				mark = "^{"
			}
			b.WriteString(mark + s + "}")
		}
		second = !second
	}
	return before.String() + group(m.kid(0)) + after.String()
}

func (m *MathML) fenced() string {
	open, end, separators := "(", ")", ","
	if s := m.attr("open"); s != "" {
		open = s
	}
	if s := m.attr("close"); s != "" {
		end = s
	}
	if s := strings.TrimSpace(m.attr("separators")); s != "" {
		separators = s
	}
	signs := []rune(separators)
	var b strings.Builder
	b.WriteString(`\left` + fence(open))
	for i := range m.Kids {
		if i > 0 {
			b.WriteString(latex(string(signs[min(i-1, len(signs)-1)])))
		}
		joinMath(&b, m.kid(i))
	}
	b.WriteString(`\right` + fence(end))
	return b.String()
}
