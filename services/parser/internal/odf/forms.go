package odf

import (
	"encoding/xml"
	"strings"

	"sluice/services/parser/internal/office"
)

// forms reads the fields of forms, which stand apart from where they are shown.
func (d *odf) forms(x *office.XML) error {
	const most = 1 << 14
	id, kind := "", ""
	return x.Deep(func(se xml.StartElement) error {
		value := office.Attr(se, "current-value")
		if value == "" {
			value = office.Attr(se, "value")
		}
		switch name := se.Name.Local; name {
		case "text", "textarea", "formatted-text", "number", "date", "time", "combobox", "value-range", "file":
			if kind = name; value != "" {
				kind = "" // its paragraphs say the same
			}
		case "listbox":
			kind, value = name, ""
		case "fixed-text":
			kind, value = name, office.Attr(se, "label")
		case "checkbox", "radio":
			kind, value = name, "☐"
			if office.Attr(se, "current-state") == "checked" || office.IsTrue(office.Attr(se, "current-selected")) ||
				!office.HasAttr(se, "current-state") && office.Attr(se, "state") == "checked" ||
				!office.HasAttr(se, "current-selected") && office.IsTrue(office.Attr(se, "selected")) {
				value = "☒"
			}
			value = strings.TrimSpace(value + " " + office.Attr(se, "label"))
		case "option":
			if kind == "listbox" && (office.IsTrue(office.Attr(se, "current-selected")) || office.IsTrue(office.Attr(se, "selected"))) {
				return d.setControl(id, office.Attr(se, "label"), true)
			}
			return nil
		case "p":
			if kind != "textarea" {
				return nil
			}
			text, err := x.Text()
			if err != nil {
				return err
			}
			return d.setControl(id, text, true)
		default: // buttons, passwords, what is hidden
			return nil
		}
		if id = office.Attr(se, "id"); id == "" || len(d.controls) >= most {
			id = ""
			return nil
		}
		return d.setControl(id, value, false)
	})
}

func (d *odf) setControl(id, value string, more bool) error {
	if id == "" {
		return nil
	}
	if more && d.controls[id] != "" {
		value = d.controls[id] + ", " + value
	}
	d.controls[id] = value
	return d.Spend(len(value))
}

// fieldmark reads a field of a form that came from a text processor of another
// kind: a box, or a list of which one entry is chosen.
func (d *odf) fieldmark(x *office.XML, se xml.StartElement) (string, error) {
	var entries []string
	chosen, box := 0, "☐"
	err := x.Each(func(se xml.StartElement) error {
		if se.Name.Local != "param" {
			return nil
		}
		value := office.Attr(se, "value")
		switch name := strings.ToLower(office.Attr(se, "name")); {
		case strings.Contains(name, "listentry"):
			entries = append(entries, value)
		case strings.Contains(name, "selected"), strings.Contains(name, "result"):
			chosen = office.Number(value, 0)
		case strings.Contains(name, "checked") && office.IsTrue(value):
			box = "☒"
		}
		return d.Spend(len(value))
	})
	switch {
	case strings.HasSuffix(office.Attr(se, "type"), "CHECKBOX"):
		return box, err
	case chosen >= 0 && chosen < len(entries):
		return entries[chosen], err
	}
	return "", err
}
