package pdf

import (
	"strings"
	"testing"
)

func TestShortColumns(t *testing.T) {
	column := func(s *sheet, font string, size, x, y, step float64, lines ...string) {
		for i, l := range lines {
			f := font
			if rest, ok := strings.CutPrefix(l, "# "); ok {
				f, l = bold, rest
			}
			if l != "" {
				s.text(f, size, x, y-step*float64(i), l)
			}
		}
	}
	// stretch sets a line word by word, with a space of so many points.
	stretch := func(s *sheet, x, y, space float64, line string) {
		for _, w := range strings.Fields(line) {
			s.text(courier, 10, x, y, w)
			x += 6*float64(len(w)) + space
		}
	}
	entry := func(s *sheet, x, y float64, i int, l string) {
		if head, ok := strings.CutPrefix(l, "# "); ok {
			s.text(bold, 14, x, y-17*float64(i)-3, head)
		} else {
			s.text(roman, 10, x, y-17*float64(i), l)
		}
	}
	for _, tt := range []struct {
		name  string
		make  func(s *sheet)
		order []string
		rows  []string // of a table
	}{
		{"two lines each", func(s *sheet) {
			column(s, roman, 11, 60, 700, 14, "The committee reviewed the annual", "report and the accounts")
			column(s, roman, 11, 330, 700, 14, "approved the budget for the", "coming fiscal year.")
		}, []string{"reviewed the annual report and the accounts", "approved the budget for the coming fiscal year."}, nil},
		{"sentences of two lines, the second of which begins with a number or a name", func(s *sheet) {
			column(s, roman, 11, 60, 700, 14, "Figure 1: Our engineers test each pump for", "200 hours before it leaves the factory.")
			column(s, roman, 11, 330, 700, 14, "Figure 2: The concert was the last of Anna", "Berg and her orchestra.")
		}, []string{"test each pump for 200 hours before it leaves the factory.", "the last of Anna Berg and her orchestra."}, nil},
		{"three columns of two and three lines", func(s *sheet) {
			s.text(bold, 16, 60, 740, "News")
			column(s, roman, 10, 60, 700, 13, "The town has a new bridge for", "trains and bicycles.", "It was built in two years.")
			column(s, roman, 10, 230, 700, 13, "In April the museum opens its", "doors again. Visitors may bring", "their dogs.")
			column(s, roman, 10, 400, 700, 13, "The orchestra plays works by", "Brahms and Dvorak in the town", "hall.")
		}, []string{"News", "a new bridge for trains and bicycles.", "It was built", "the museum opens its doors again. Visitors may bring their dogs.", "works by Brahms and Dvorak in the town hall."}, nil},
		{"lines with wide spaces in narrow columns", func(s *sheet) {
			for i, l := range []string{"The company checked", "its foundations last", "summer."} {
				stretch(s, 60, 700-13*float64(i), []float64{15, 12, 6}[i], l)
			}
			for i, l := range []string{"It found no damage of", "the walls or the roof", "of the building."} {
				stretch(s, 300, 700-13*float64(i), []float64{6, 6, 6}[i], l)
			}
		}, []string{"The company checked its foundations last summer.", "It found no damage of the walls or the roof of the building."}, nil},
		{"lines of wide spaces that end at different places", func(s *sheet) {
			stretch(s, 60, 700, 14, "The company checked all of its foundations")
			stretch(s, 60, 687, 17, "last summer and found no damage of them")
			stretch(s, 60, 674, 15, "nor of the roof that was mended in June")
		}, []string{"The company checked all of its foundations last summer and found no damage of them nor of the roof"}, nil},
		{"a table whose columns are as far apart as wide spaces", func(s *sheet) {
			for i, l := range []string{"Mon Tue Wed Thu Fri", "one two six ten one", "two one ten six two"} {
				stretch(s, 60, 700-13*float64(i), 14, l)
			}
		}, nil, []string{"| Mon | Tue | Wed | Thu | Fri |", "| one | two | six | ten | one |"}},
		{"a table whose rows end at one place", func(s *sheet) {
			stretch(s, 60, 700, 30, "4 CARD32 NUMBERS")
			stretch(s, 60, 687, 36, "8*NUMBERS ListEntry")
			s.text(courier, 10, 60, 640, "The list has as many entries as the number says.")
		}, nil, []string{"| 4 | CARD32 | NUMBERS |"}},
		{"a table of sentences in three columns", func(s *sheet) {
			column(s, bold, 10, 60, 700, 13, "Risk of a loss of data", "", "")
			column(s, bold, 10, 230, 700, 13, "Consequence for the town", "", "")
			column(s, bold, 10, 400, 700, 13, "Measure that was taken", "", "")
			column(s, roman, 10, 60, 687, 13, "The disk of a server breaks or", "is stolen.", "Somebody deletes what others", "need.")
			column(s, roman, 10, 230, 687, 13, "The town cannot send bills to", "anybody.", "Work of many days is gone for", "good.")
			column(s, roman, 10, 400, 687, 13, "Copies are made each night on", "tape.", "Copies are kept for a month or", "two.")
		}, []string{"Risk", "Consequence", "Measure", "is stolen.", "anybody.", "tape.", "Somebody", "Work of many"}, []string{"| Risk of a loss of data | Consequence for the town | Measure that was taken |"}},
		{"lists with bullets drawn apart", func(s *sheet) {
			s.text(bold, 24, 60, 740, "Options")
			for i, row := range [][2]string{{"Cheap", "Slow"}, {"Easy", "Few experts"}, {"Open source", "Old"}} {
				y := 680 - 28*float64(i)
				s.text(roman, 16, 60, y, "\x95").text(roman, 16, 82, y, row[0]).text(roman, 16, 400, y, "\x95").text(roman, 16, 422, y, row[1])
			}
		}, []string{"- Cheap", "- Easy", "- Open source", "- Slow", "- Few experts", "- Old"}, nil},
		{"lists with dashes", func(s *sheet) {
			for i, row := range [][2]string{{"Cheap", "Slow"}, {"Easy", "Few experts"}, {"Open source", "Old"}} {
				y := 680 - 20*float64(i)
				s.text(roman, 12, 60, y, "-").text(roman, 12, 76, y, row[0]).text(roman, 12, 300, y, "-").text(roman, 12, 316, y, row[1])
			}
		}, []string{"Cheap", "Easy", "Open source", "Slow", "Few experts", "Old"}, nil},
		{"a sidebar at heights of its own", func(s *sheet) {
			column(s, roman, 9, 50, 700, 15, "# Contact", "jane@example.org", "+41 44 123 45 67", "# Skills", "Go", "Python", "SQL")
			column(s, roman, 10, 220, 703, 13, "# Experience", "Senior developer at a bank, where she led a team", "of nine people.", "# Education", "Master of science, Zurich.", "Bachelor of science, Bern.")
		}, []string{"Contact", "jane@example.org", "Skills", "SQL", "Experience", "Senior developer", "Education", "Bachelor"}, nil},
		{"a sidebar in the same lines", func(s *sheet) {
			column(s, roman, 10, 50, 700, 14, "# Contact", "jane@example.org", "Zurich", "# Skills", "Go", "Python", "SQL", "Rust")
			column(s, roman, 10, 220, 700, 14, "# Experience", "Senior developer at a bank, where she led a team", "of nine people and wrote programs in several", "languages.", "# Education", "Master of science, Zurich.", "# Hobbies", "Chess.")
		}, []string{"Contact", "jane@example.org", "Skills", "Rust", "Experience", "of nine people", "Education", "Chess"}, nil},
		{"sidebar and text with larger headings, one above all", func(s *sheet) {
			s.text(bold, 20, 250, 760, "Jane Example")
			for i, l := range []string{"# Contact", "jane@example.org", "Zurich", "# Skills", "Go", "Python", "# Languages", "German"} {
				entry(s, 50, 700, i, l)
			}
			for i, l := range []string{"# Experience", "Developer at a bank, where she led a team of nine", "people.", "Trainer at a school.", "# Education", "Master of science, Zurich."} {
				entry(s, 220, 702, i, l)
			}
		}, []string{"Jane Example", "Contact", "Zurich", "Skills", "Python", "Languages", "German", "Experience", "Trainer", "Education", "Master"}, nil},
		{"heads that stand out to the left, one item that goes on", func(s *sheet) {
			s.text(bold, 14, 60, 720, "Pros").text(bold, 14, 290, 720, "Cons")
			column(s, roman, 12, 90, 690, 14, "No commute", "Hours that suit families", "Quiet")
			column(s, roman, 12, 320, 690, 14, "Far from colleagues for most", "of the year", "Weak line")
		}, []string{"Pros", "No commute", "Hours that suit", "Quiet", "Cons", "Far from colleagues for most of the year", "Weak line"}, nil},
		{"questions in two columns", func(s *sheet) {
			column(s, roman, 11, 60, 700, 14, "1. What is a lake?", "2. What is a river called that never reaches", "the sea?", "3. Name two seas.")
			column(s, roman, 11, 330, 700, 14, "4. What is rain?", "5. Where does snow fall?", "6. Name two winds.")
		}, []string{"1. What", "2. What is a river called that never reaches the sea?", "3. Name", "4. What", "5. Where", "6. Name"}, nil},
		{"a table with values in small and in capital letters", func(s *sheet) {
			column(s, roman, 11, 60, 700, 14, "# Part", "Housing", "Cable", "Colour", "Weight")
			column(s, roman, 11, 300, 700, 14, "# Value", "Powder coated steel with rubber feet", "included", "Black", "5 kg")
		}, nil, []string{"| Housing | Powder coated steel with rubber feet |", "| Cable | included |", "| Colour | Black |"}},
		{"a table with a large head", func(s *sheet) {
			s.text(bold, 14, 60, 720, "Part").text(bold, 14, 300, 720, "Value")
			column(s, roman, 11, 60, 700, 14, "Housing", "Cable", "Colour")
			column(s, roman, 11, 300, 700, 14, "Steel", "Copper", "Black")
		}, nil, []string{"| Housing | Steel |", "| Cable | Copper |", "| Colour | Black |"}},
		{"a table of two columns", func(s *sheet) {
			column(s, roman, 10, 60, 700, 14, "# Name", "Anna Example", "Bob Doe", "Cid", "Dora")
			column(s, roman, 10, 300, 700, 14, "# Town", "Lund", "Oslo", "Rome", "Turin")
		}, nil, []string{"| Anna Example | Lund |", "| Bob Doe | Oslo |", "| Dora | Turin |"}},
		{"a table with dashes for values", func(s *sheet) {
			column(s, roman, 10, 60, 700, 14, "Part", "Bolt", "Nut", "Washer")
			column(s, roman, 10, 200, 700, 14, "Steel", "-", "12", "-")
			column(s, roman, 10, 300, 700, 14, "Brass", "7", "-", "9")
		}, nil, []string{"| Bolt | - | 7 |", "| Nut | 12 | - |", "| Washer | - | 9 |"}},
		{"declarations in columns", func(s *sheet) {
			column(s, roman, 10, 60, 700, 12, "r", "s", "other", "z")
			column(s, roman, 10, 130, 700, 12, "INTEGER,", "INTEGER,", "OtherStruct", "INTEGER OPTIONAL,")
		}, nil, []string{"| r | INTEGER, |", "| other | OtherStruct |", "| z | INTEGER OPTIONAL, |"}},
		{"a table whose cells go on below", func(s *sheet) {
			column(s, roman, 10, 60, 700, 12, "Term", "Broker", "", "Ledger", "", "Lease")
			column(s, roman, 10, 200, 700, 12, "Meaning", "what passes messages on from one", "service to the others", "what says who has bought what and", "at which price", "a right that ends")
		}, []string{"Broker", "service to the others", "Ledger", "at which price", "Lease"}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var m made
			tt.make(m.sheet())
			got := read(t, &m).Markdown
			at := 0
			for _, want := range tt.order {
				i := strings.Index(got[at:], want)
				if i < 0 {
					t.Fatalf("%q is not in its order:\n%s", want, got)
				}
				at += i + len(want)
			}
			for _, want := range tt.rows {
				if !strings.Contains(got, want) {
					t.Errorf("no row %s:\n%s", want, got)
				}
			}
			if tt.rows == nil && tt.name != "a table whose cells go on below" && strings.Contains(got, "| ") {
				t.Errorf("a table:\n%s", got)
			}
		})
	}
}
