package sheet

import (
	"fmt"
	"testing"

	"github.com/xuri/excelize/v2"
)

// What a number looks like agrees with another implementation of the formats.
func TestFormatNumber(t *testing.T) {
	f := excelize.NewFile()
	defer func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}()
	values := []float64{0, 1, -1, 0.5, 1234.5678, -1234567.891, 0.256, 45351.5625, 45292, 59, 61, 1e-7, 123456789012, 2.5, 99.995}
	codes := []string{
		"General", "0", "0.00", "#,##0", "#,##0.00", "0%", "0.00%", "yyyy-mm-dd", "dd/mm/yyyy", "d-mmm-yy", "mmmm d, yyyy", "h:mm:ss", "h:mm AM/PM",
		"yyyy-mm-dd hh:mm", "dddd", `0.0" km"`, `"EUR "#,##0.00`, "0.00E+00", "000", `#,##0;(#,##0)`, "mm:ss",
	}
	for i, code := range codes {
		style, err := f.NewStyle(&excelize.Style{CustomNumFmt: &code})
		if err != nil {
			t.Fatal(err)
		}
		for k, v := range values {
			cell := CellName(k, i)
			if err := f.SetCellValue("Sheet1", cell, v); err != nil {
				t.Fatal(err)
			}
			if err := f.SetCellStyle("Sheet1", cell, cell, style); err != nil {
				t.Fatal(err)
			}
			want, err := f.GetCellValue("Sheet1", cell)
			if err != nil {
				t.Fatal(err)
			}
			// Days before March 1900 are a matter of taste, years of five digits
			// of nobody's, and how many digits General shows of the column's width.
			if _, isDate := scanFormat(code); (isDate && (v < 61 || v > 1e9)) || (code == "General" && (v < 1e-5 || v > 1e11)) {
				continue
			}
			if got := FormatNumber(v, code, false); got != want {
				t.Errorf("%s of %v: got %q, want %q", code, v, got, want)
			}
		}
	}
}

func TestFormatNumberAlone(t *testing.T) {
	for _, c := range []struct {
		v        float64
		code     string
		date1904 bool
		want     string
	}{
		{0, `0.00;-0.00;"zero"`, false, "zero"},
		{1.5, "[h]:mm", false, "36:00"},
		{0.75, "[Red]0.0", false, "0.8"},
		{1, "[$€-407] #,##0.00", false, "€ 1.00"},
		{1500000, `0.0,,"M"`, false, "1.5M"},
		{0, "yyyy-mm-dd", true, "1904-01-01"},
		{1e300, "yyyy-mm-dd", false, "1E+300"},
		{12.5, "0.##", false, "12.5"},
		{12, "0.##", false, "12"},
		{5, `"unclosed`, false, "unclosed"},
		{5, "[unclosed", false, "5"},
		{0.1 + 0.2, "", false, "0.3"},
		{43831, "yyyy/m/d h:mm", false, "2020/1/1 0:00"},
	} {
		if got := FormatNumber(c.v, c.code, c.date1904); got != c.want {
			t.Errorf("%s of %v: got %q, want %q", c.code, c.v, got, c.want)
		}
	}
	for _, c := range []struct{ row, column int }{{0, 0}, {0, 25}, {9, 26}, {1048575, 16383}, {4, 701}, {4, 702}} {
		name := CellName(c.row, c.column)
		if row, column := ParseCell(name); row != c.row || column != c.column {
			t.Errorf("%s is %d, %d, want %+v", name, row, column, c)
		}
	}
	if got := fmt.Sprint(CellName(1048575, 16383)); got != "XFD1048576" {
		t.Errorf("the last cell is %s", got)
	}
}

func FuzzFormatNumber(f *testing.F) {
	f.Add(45351.5, "yyyy-mm-dd h:mm AM/PM;[Red]0.0#,%", true)
	f.Fuzz(func(t *testing.T, v float64, code string, date1904 bool) {
		if len(code) > 1024 {
			return
		}
		if s := FormatNumber(v, code, date1904); len(s) > 64*1024 {
			t.Fatalf("%d bytes", len(s))
		}
	})
}
