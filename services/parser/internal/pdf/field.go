package pdf

import (
	"strings"

	"github.com/klippa-app/go-pdfium/enums"
	"github.com/klippa-app/go-pdfium/references"
	"github.com/klippa-app/go-pdfium/requests"
	"github.com/klippa-app/go-pdfium/structs"
)

// States of checkboxes and radio buttons.
const (
	boxOn  = "[x]"
	boxOff = "[ ]"
)

// form returns the handle by which pdfium knows the fields of the file, or "" if it
// has none. Nothing of it runs: no scripts, no events.
func (f *file) form() (references.FPDF_FORMHANDLE, error) {
	if f.formAsked {
		return f.formRef, nil
	}
	f.formAsked = true
	kind, err := f.instance.FPDF_GetFormType(&requests.FPDF_GetFormType{Document: f.doc})
	if err != nil || kind.FormType == enums.FPDF_FORMTYPE_NONE {
		if err != nil {
			return "", ifTrapped(err)
		}
		return "", nil
	}
	r, err := f.instance.FPDFDOC_InitFormFillEnvironment(&requests.FPDFDOC_InitFormFillEnvironment{
		Document: f.doc,
		// pdfium calls them for events of a window that does not exist. They must
		// be there, and they must not depend on the file: the wrapper finds them
		// by an address that files read at the same time may share.
		FormFillInfo: structs.FPDF_FORMFILLINFO{
			FFI_Invalidate:         func(references.FPDF_PAGE, float64, float64, float64, float64) {},
			FFI_OutputSelectedRect: func(references.FPDF_PAGE, float64, float64, float64, float64) {},
			FFI_SetCursor:          func(enums.FXCT) {},
			FFI_SetTimer:           func(int, func(int)) int { return 0 },
			FFI_KillTimer:          func(int) {},
			FFI_GetLocalTime:       func() structs.FPDF_SYSTEMTIME { return structs.FPDF_SYSTEMTIME{} },
			FFI_OnChange:           func() {},
			FFI_GetPage:            func(references.FPDF_DOCUMENT, int) *references.FPDF_PAGE { return nil },
			FFI_GetCurrentPage:     func(references.FPDF_DOCUMENT) *references.FPDF_PAGE { return nil },
			FFI_GetRotation:        func(references.FPDF_PAGE) enums.FPDF_PAGE_ROTATION { return 0 },
			FFI_ExecuteNamedAction: func(string) {},
			FFI_SetTextFieldFocus:  func(string, bool) {},
		},
	})
	if err != nil {
		return "", ifTrapped(err)
	}
	f.formRef = r.FormHandle
	return f.formRef, nil
}

func (f *file) closeForm() {
	if f.formRef != "" && f.instance != nil {
		// An instance that has crashed cannot; it is thrown away all the same.
		_, _ = f.instance.FPDFDOC_ExitFormFillEnvironment(&requests.FPDFDOC_ExitFormFillEnvironment{FormHandle: f.formRef})
	}
	f.formRef, f.formAsked = "", false
}

// Flags of fields (ISO 32000-1, tables 226 to 230).
const (
	fieldMultiline = 1 << 12
	fieldPassword  = 1 << 13
)

// maxOptions bounds the entries of one choice.
const maxOptions = 2_000

// field reads the value of a form field's widget.
func (f *file) field(annot references.FPDF_ANNOTATION, a *annotation) error {
	form, err := f.form()
	if err != nil {
		return err
	}
	if form == "" {
		return f.looseField(annot, a)
	}
	kind, err := f.instance.FPDFAnnot_GetFormFieldType(&requests.FPDFAnnot_GetFormFieldType{FormHandle: form, Annotation: annot})
	if err != nil {
		if trapped(err) {
			return err
		}
		return f.looseField(annot, a)
	}
	a.replace = f.needAppearances
	flags := 0
	if r, err := f.instance.FPDFAnnot_GetFormFieldFlags(&requests.FPDFAnnot_GetFormFieldFlags{FormHandle: form, Annotation: annot}); err == nil {
		flags = int(r.Flags)
	} else if trapped(err) {
		return err
	}
	switch kind.FormFieldType {
	case enums.FPDF_FORMFIELD_TYPE_CHECKBOX, enums.FPDF_FORMFIELD_TYPE_RADIOBUTTON:
		return f.checkbox(form, annot, a)
	case enums.FPDF_FORMFIELD_TYPE_COMBOBOX, enums.FPDF_FORMFIELD_TYPE_LISTBOX:
		a.list = kind.FormFieldType == enums.FPDF_FORMFIELD_TYPE_LISTBOX
		a.lines = a.list
		if a.text, err = f.chosen(form, annot); err != nil {
			return err
		}
		if a.text == "" {
			a.text, err = f.value(form, annot)
		}
	case enums.FPDF_FORMFIELD_TYPE_TEXTFIELD:
		if flags&fieldPassword != 0 {
			return nil
		}
		a.lines = flags&fieldMultiline != 0
		a.text, err = f.value(form, annot)
	case enums.FPDF_FORMFIELD_TYPE_UNKNOWN:
		return f.looseField(annot, a)
	}
	return err
}

// looseField reads a widget that belongs to no form: its own value.
func (f *file) looseField(annot references.FPDF_ANNOTATION, a *annotation) error {
	kind, err := f.entry(annot, "FT")
	switch {
	case err != nil:
		return err
	case kind == "Btn":
		return f.checkbox("", annot, a)
	case kind == "Sig":
		return nil
	}
	a.text, err = f.entry(annot, "V")
	return err
}

func (f *file) value(form references.FPDF_FORMHANDLE, annot references.FPDF_ANNOTATION) (string, error) {
	r, err := f.instance.FPDFAnnot_GetFormFieldValue(&requests.FPDFAnnot_GetFormFieldValue{FormHandle: form, Annotation: annot})
	if err != nil {
		return "", ifTrapped(err)
	}
	return clean(r.FormFieldValue), nil
}

// chosen returns the entries of a choice that are selected, as the form shows them.
func (f *file) chosen(form references.FPDF_FORMHANDLE, annot references.FPDF_ANNOTATION) (string, error) {
	n, err := f.instance.FPDFAnnot_GetOptionCount(&requests.FPDFAnnot_GetOptionCount{FormHandle: form, Annotation: annot})
	if err != nil {
		return "", ifTrapped(err)
	}
	var chosen []string
	for i := range min(n.OptionCount, maxOptions) {
		on, err := f.instance.FPDFAnnot_IsOptionSelected(&requests.FPDFAnnot_IsOptionSelected{FormHandle: form, Annotation: annot, Index: i})
		if err != nil {
			if trapped(err) {
				return "", err
			}
			continue
		}
		if !on.IsOptionSelected {
			continue
		}
		label, err := f.instance.FPDFAnnot_GetOptionLabel(&requests.FPDFAnnot_GetOptionLabel{FormHandle: form, Annotation: annot, Index: i})
		if err != nil {
			if trapped(err) {
				return "", err
			}
			continue
		}
		if s := clean(label.OptionLabel); s != "" {
			chosen = append(chosen, s)
		}
	}
	return strings.Join(chosen, "; "), nil
}

// checkbox reads the state of a checkbox or a radio button: the name of the
// appearance that is shown, which is Off or what the button stands for.
func (f *file) checkbox(form references.FPDF_FORMHANDLE, annot references.FPDF_ANNOTATION, a *annotation) error {
	a.box, a.text = true, boxOff
	state, err := f.entry(annot, "AS")
	if err != nil {
		return err
	}
	if state == "" || state == "Off" && f.needAppearances {
		// What a program filled in may have a value and no appearance for it yet.
		if state, err = f.entry(annot, "V"); err != nil {
			return err
		}
	}
	if state == "" || state == "Off" {
		return nil
	}
	a.text, a.export = boxOn, state
	if form == "" {
		return nil
	}
	// The states of some are numbers of what they stand for.
	v, err := f.value(form, annot)
	if err != nil {
		return err
	}
	if v != "" && v != "Off" {
		a.export = v
	}
	return nil
}
