package office

import (
	"encoding/xml"
	"strings"
)

// Equation reads an Office Math element (ECMA-376 part 1, 22.1) as LaTeX
// between dollar signs: single ones in the line, double ones for a display.
func (j *Job) Equation(x *XML, se xml.StartElement) (string, error) {
	s, err := j.math(x)
	if err != nil {
		return "", err
	}
	s = strings.TrimSpace(s)
	if s == "" {
		return "", nil
	}
	if se.Name.Local == "oMathPara" {
		s = "$$" + s + "$$"
	} else {
		s = "$" + s + "$"
	}
	return s, j.Spend(len(s))
}

// math returns the children of the element whose start was read last, in a row.
func (j *Job) math(x *XML) (string, error) {
	var b strings.Builder
	err := x.Each(func(se xml.StartElement) error {
		s, err := j.mathElement(x, se)
		if err != nil {
			return err
		}
		joinMath(&b, s)
		return j.Spend(len(s))
	})
	return b.String(), err
}

// joinMath keeps a command apart from the letter that follows it.
func joinMath(b *strings.Builder, s string) {
	if s == "" {
		return
	}
	if have := b.String(); endsInCommand(have) && IsASCIILetter(s[0]) {
		b.WriteByte(' ')
	}
	b.WriteString(s)
}

func endsInCommand(s string) bool {
	const longest = 24 // letters of a command; bounds the look back
	i := len(s)
	for i > 0 && len(s)-i < longest && IsASCIILetter(s[i-1]) {
		i--
	}
	return i < len(s) && i > 0 && s[i-1] == '\\'
}

func IsASCIILetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }

// mathArgs are the parts of a construct by name, and its properties.
type mathArgs struct {
	parts map[string]string
	all   []string          // every m:e, in order
	props map[string]string // of the xxxPr element; "\x00" where a value is missing
}

func (j *Job) mathArgs(x *XML) (a mathArgs, err error) {
	a = mathArgs{parts: map[string]string{}, props: map[string]string{}}
	err = x.Each(func(se xml.StartElement) error {
		name := se.Name.Local
		if strings.HasSuffix(name, "Pr") && name != "ctrlPr" {
			return x.Each(func(se xml.StartElement) error {
				v := "\x00"
				if HasAttr(se, "val") {
					v = Attr(se, "val")
				}
				a.props[se.Name.Local] = v
				return nil
			})
		}
		s, err := j.math(x)
		if err != nil {
			return err
		}
		s = strings.TrimSpace(s)
		if name == "e" || name == "mr" {
			a.all = append(a.all, s)
		}
		a.parts[name] = s
		return nil
	})
	return a, err
}

// prop returns a property, or otherwise if it is not there or has no value.
func (a mathArgs) prop(name, otherwise string) string {
	v, ok := a.props[name]
	if !ok || v == "\x00" {
		return otherwise
	}
	return v
}

func (a mathArgs) on(name string) bool {
	v, ok := a.props[name]
	return ok && v != "0" && v != "off" && v != "false"
}

func (j *Job) mathElement(x *XML, se xml.StartElement) (string, error) {
	name := se.Name.Local
	switch name {
	case "r":
		return j.mathRun(x)
	case "oMath", "oMathPara", "e", "box", "ins", "moveTo", "sdt", "sdtContent", "smartTag", "num", "den", "hyperlink":
		return j.math(x)
	case "AlternateContent":
		var b strings.Builder
		err := x.Alternate(func(se xml.StartElement) error {
			s, err := j.mathElement(x, se)
			joinMath(&b, s)
			return err
		})
		return b.String(), err
	case "m":
		return j.matrix(x)
	case "f", "sSup", "sSub", "sSubSup", "sPre", "rad", "nary", "d", "func", "limLow", "limUpp", "acc", "bar",
		"eqArr", "groupChr", "borderBox", "phant":
	default:
		return "", nil // properties, deletions, bookmarks
	}
	a, err := j.mathArgs(x)
	if err != nil {
		return "", err
	}
	e := a.parts["e"]
	switch name {
	case "f":
		switch a.prop("type", "bar") {
		case "lin", "skw":
			return group(a.parts["num"]) + "/" + group(a.parts["den"]), nil
		case "noBar":
			return `\binom{` + a.parts["num"] + "}{" + a.parts["den"] + "}", nil
		}
		return `\frac{` + a.parts["num"] + "}{" + a.parts["den"] + "}", nil
	case "sSup":
		return group(e) + "^{" + a.parts["sup"] + "}", nil
	case "sSub":
		return group(e) + "_{" + a.parts["sub"] + "}", nil
	case "sSubSup":
		return group(e) + "_{" + a.parts["sub"] + "}^{" + a.parts["sup"] + "}", nil
	case "sPre":
		return "{}_{" + a.parts["sub"] + "}^{" + a.parts["sup"] + "}" + group(e), nil
	case "rad":
		if deg := a.parts["deg"]; deg != "" && !a.on("degHide") {
			return `\sqrt[` + deg + "]{" + e + "}", nil
		}
		return `\sqrt{` + e + "}", nil
	case "nary":
		s := latex(a.prop("chr", "∫"))
		if sub := a.parts["sub"]; sub != "" && !a.on("subHide") {
			s += "_{" + sub + "}"
		}
		if sup := a.parts["sup"]; sup != "" && !a.on("supHide") {
			s += "^{" + sup + "}"
		}
		return s + "{" + e + "}", nil
	case "d":
		sep := latex(a.prop("sepChr", "|"))
		return `\left` + fence(a.prop("begChr", "(")) + strings.Join(a.all, sep) + `\right` + fence(a.prop("endChr", ")")), nil
	case "func":
		fn := a.parts["fName"]
		if known, ok := mathFunctions[fn]; ok {
			fn = known
		}
		var b strings.Builder
		b.WriteString(fn)
		joinMath(&b, e)
		return b.String(), nil
	case "limLow":
		if e == "lim" || e == "max" || e == "min" || e == "sup" || e == "inf" {
			return `\` + e + "_{" + a.parts["lim"] + "}", nil
		}
		return `\underset{` + a.parts["lim"] + "}{" + e + "}", nil
	case "limUpp":
		return `\overset{` + a.parts["lim"] + "}{" + e + "}", nil
	case "acc":
		accent, ok := accents[a.prop("chr", "\u0302")]
		if !ok {
			accent = `\hat`
		}
		return accent + "{" + e + "}", nil
	case "bar":
		if a.prop("pos", "bot") == "top" {
			return `\overline{` + e + "}", nil
		}
		return `\underline{` + e + "}", nil
	case "groupChr":
		if a.prop("pos", "bot") == "top" {
			return `\overbrace{` + e + "}", nil
		}
		return `\underbrace{` + e + "}", nil
	case "borderBox":
		return `\boxed{` + e + "}", nil
	case "eqArr":
		return `\begin{aligned}` + strings.Join(a.all, ` \\ `) + `\end{aligned}`, nil
	}
	return e, nil
}

func (j *Job) matrix(x *XML) (string, error) {
	var rows []string
	err := x.Each(func(se xml.StartElement) error {
		if se.Name.Local != "mr" {
			return nil
		}
		a, err := j.mathArgs(x)
		rows = append(rows, strings.Join(a.all, " & "))
		return err
	})
	return `\begin{matrix}` + strings.Join(rows, ` \\ `) + `\end{matrix}`, err
}

func (j *Job) mathRun(x *XML) (string, error) {
	var b strings.Builder
	plain := false
	err := x.Each(func(se xml.StartElement) error {
		switch se.Name.Local {
		case "rPr":
			return x.Each(func(se xml.StartElement) error {
				plain = plain || (se.Name.Local == "nor" && OnOff(se))
				return nil
			})
		case "t":
			s, err := x.Text()
			if err != nil {
				return err
			}
			if command, ok := mathFunctions[strings.TrimSpace(s)]; ok {
				s = command
			} else if plain && strings.TrimSpace(s) != "" {
				s = `\text{` + escapeLatex(s) + "}"
			} else {
				s = latex(s)
			}
			joinMath(&b, s)
		}
		return nil
	})
	return b.String(), err
}

// group puts what is more than one sign in braces.
func group(s string) string {
	if len([]rune(s)) <= 1 || (s[0] == '\\' && endsInCommand(s) && strings.Count(s, `\`) == 1) {
		return s
	}
	return "{" + s + "}"
}

func fence(s string) string {
	switch s {
	case "":
		return "."
	case "{", "}":
		return `\` + s
	case "‖":
		return `\|`
	}
	return latex(s)
}

// latex returns mathematical text in LaTeX.
func latex(s string) string {
	var b strings.Builder
	for _, r := range s {
		command, known := mathSigns[r]
		switch {
		case known:
			joinMath(&b, command)
		case r >= 0x1D400 && r <= 0x1D7FF: // letters of mathematical alphabets
			joinMath(&b, mathLetter(r))
		case strings.ContainsRune(`%#&$_{}`, r):
			b.WriteString(`\` + string(r))
		case r == '\\':
			b.WriteString(`\backslash`)
		default:
			joinMath(&b, string(r))
		}
	}
	return b.String()
}

func escapeLatex(s string) string {
	return strings.NewReplacer(`\`, `\textbackslash{}`, "%", `\%`, "#", `\#`, "&", `\&`, "$", `\$`, "_", `\_`, "{", `\{`, "}", `\}`).Replace(s)
}

// mathLetter returns the plain letter or digit behind one of the styled ones
// of the block Mathematical Alphanumeric Symbols.
func mathLetter(r rune) string {
	switch {
	case r < 0x1D6A4: // thirteen alphabets of 52 letters
		i := (r - 0x1D400) % 52
		if i < 26 {
			return string('A' + i)
		}
		return string('a' + i - 26)
	case r >= 0x1D7CE: // five sets of ten digits
		return string('0' + (r-0x1D7CE)%10)
	case r >= 0x1D6A8 && r < 0x1D7CA: // five Greek alphabets of 58
		i := (r - 0x1D6A8) % 58
		const greek = "ΑΒΓΔΕΖΗΘΙΚΛΜΝΞΟΠΡΘΣΤΥΦΧΨΩ∇αβγδεζηθικλμνξοπρςστυφχψω∂ϵϑϰϕϱϖ"
		g := []rune(greek)[i]
		if command, ok := mathSigns[g]; ok {
			return command
		}
		return string(g)
	}
	return string(r)
}

var mathFunctions = map[string]string{
	"sin": `\sin`, "cos": `\cos`, "tan": `\tan`, "cot": `\cot`, "sec": `\sec`, "csc": `\csc`,
	"arcsin": `\arcsin`, "arccos": `\arccos`, "arctan": `\arctan`, "sinh": `\sinh`, "cosh": `\cosh`, "tanh": `\tanh`,
	"log": `\log`, "ln": `\ln`, "exp": `\exp`, "lim": `\lim`, "max": `\max`, "min": `\min`, "sup": `\sup`, "inf": `\inf`,
	"det": `\det`, "gcd": `\gcd`, "dim": `\dim`, "ker": `\ker`, "deg": `\deg`, "arg": `\arg`,
}

var accents = map[string]string{
	"\u0300": `\grave`, "\u0301": `\acute`, "\u0302": `\hat`, "\u0303": `\tilde`, "\u0304": `\bar`, "\u0305": `\overline`,
	"\u0306": `\breve`, "\u0307": `\dot`, "\u0308": `\ddot`, "\u030C": `\check`, "\u20D6": `\overleftarrow`,
	"\u20D7": `\vec`, "\u20DB": `\dddot`, "¯": `\bar`, "→": `\vec`, "^": `\hat`, "~": `\tilde`,
}

var mathSigns = map[rune]string{
	'α': `\alpha`, 'β': `\beta`, 'γ': `\gamma`, 'δ': `\delta`, 'ε': `\varepsilon`, 'ϵ': `\epsilon`, 'ζ': `\zeta`, 'η': `\eta`,
	'θ': `\theta`, 'ϑ': `\vartheta`, 'ι': `\iota`, 'κ': `\kappa`, 'λ': `\lambda`, 'μ': `\mu`, 'ν': `\nu`, 'ξ': `\xi`,
	'π': `\pi`, 'ϖ': `\varpi`, 'ρ': `\rho`, 'ϱ': `\varrho`, 'σ': `\sigma`, 'ς': `\varsigma`, 'τ': `\tau`, 'υ': `\upsilon`,
	'φ': `\varphi`, 'ϕ': `\phi`, 'χ': `\chi`, 'ψ': `\psi`, 'ω': `\omega`, 'Γ': `\Gamma`, 'Δ': `\Delta`, 'Θ': `\Theta`,
	'Λ': `\Lambda`, 'Ξ': `\Xi`, 'Π': `\Pi`, 'Σ': `\Sigma`, 'Υ': `\Upsilon`, 'Φ': `\Phi`, 'Ψ': `\Psi`, 'Ω': `\Omega`,
	'∑': `\sum`, '∏': `\prod`, '∐': `\coprod`, '∫': `\int`, '∬': `\iint`, '∭': `\iiint`, '∮': `\oint`, '⋃': `\bigcup`,
	'⋂': `\bigcap`, '⋁': `\bigvee`, '⋀': `\bigwedge`, '∞': `\infty`, '∂': `\partial`, '∇': `\nabla`, '√': `\surd`,
	'±': `\pm`, '∓': `\mp`, '×': `\times`, '÷': `\div`, '⋅': `\cdot`, '·': `\cdot`, '∗': `*`, '∘': `\circ`, '−': `-`,
	'≤': `\leq`, '≥': `\geq`, '≠': `\neq`, '≈': `\approx`, '≡': `\equiv`, '≅': `\cong`, '∼': `\sim`, '≃': `\simeq`,
	'∝': `\propto`, '≪': `\ll`, '≫': `\gg`, '∈': `\in`, '∉': `\notin`, '∋': `\ni`, '⊂': `\subset`, '⊆': `\subseteq`,
	'⊃': `\supset`, '⊇': `\supseteq`, '∪': `\cup`, '∩': `\cap`, '∅': `\emptyset`, '∖': `\setminus`, '∀': `\forall`,
	'∃': `\exists`, '¬': `\neg`, '∧': `\wedge`, '∨': `\vee`, '⇒': `\Rightarrow`, '⇐': `\Leftarrow`, '⇔': `\Leftrightarrow`,
	'→': `\to`, '←': `\leftarrow`, '↔': `\leftrightarrow`, '↦': `\mapsto`, '⊕': `\oplus`, '⊗': `\otimes`, '⊥': `\perp`,
	'∥': `\parallel`, '∠': `\angle`, '°': `^{\circ}`, '…': `\ldots`, '⋯': `\cdots`, '⋮': `\vdots`, '⋱': `\ddots`,
	'ℏ': `\hbar`, 'ℓ': `\ell`, 'ℝ': `\mathbb{R}`, 'ℕ': `\mathbb{N}`, 'ℤ': `\mathbb{Z}`, 'ℚ': `\mathbb{Q}`, 'ℂ': `\mathbb{C}`,
	'ℎ': `h`, '⟨': `\langle`, '⟩': `\rangle`, '〈': `\langle`, '〉': `\rangle`, '⌈': `\lceil`, '⌉': `\rceil`, '⌊': `\lfloor`,
	'⌋': `\rfloor`, '′': `'`, '″': `''`, '\u2061': ``, '\u2062': ``, '\u200b': ``, '\u00a0': ` `,
}
