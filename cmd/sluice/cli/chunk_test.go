package cli

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// What is embedded of each chunk of a table has the names of its columns.
func TestChunksOfATable(t *testing.T) {
	var md strings.Builder
	md.WriteString("# Stock\n\n| Article | Hall |\n| --- | --- |\n")
	for i := range 60 {
		fmt.Fprintf(&md, "| bolt-%d | %d |\n", i, i%7)
	}
	// The size alone is enough: what depends on it follows.
	r := sluiceWith(t, md.String(), "chunk", "-", "--name", "stock.md", "--max-tokens", "100", "--json").want(t, 0)
	lines := strings.Split(strings.TrimSpace(r.out), "\n")
	for i, line := range lines {
		var c struct {
			Text, Header string
			Headings     []string
			Tokens       int
		}
		if err := json.Unmarshal([]byte(line), &c); err != nil {
			t.Fatal(err)
		}
		if i > 0 && (c.Header != "Article | Hall" || strings.Join(c.Headings, "") != "Stock" || strings.Contains(c.Text, "Article")) || i == 0 && c.Header != "" || c.Tokens > 100 {
			t.Errorf("chunk %d: %s", i, line)
		}
	}
	if len(lines) < 5 {
		t.Errorf("%d chunks", len(lines))
	}
	sluiceWith(t, md.String(), "chunk", "-", "--name", "stock.md", "--max-tokens", "100").want(t, 0).has(t, "> Stock; table header: Article | Hall\n| bolt-")
}

// Questions find other forms of their words, in the language of each document, and
// the rows of a table by the names of their columns.
func TestSearchInLanguagesAndTables(t *testing.T) {
	rows := "| Article | Tensile strength |\n| --- | --- |\n"
	for i := range 200 {
		rows += fmt.Sprintf("| bolt-%d | %d |\n", i, 400+i)
	}
	start(t, nil)
	in(t, map[string]string{
		"de.md":    "# Bedingungen\n\nDie Kündigungen sind an den Vermieter zu richten. Der Mieter kann den Vertrag beenden, wenn alle Zahlungen geleistet wurden.\n",
		"fr.md":    "# Conditions\n\nLes résiliations doivent être adressées au bailleur. Le locataire peut mettre fin au contrat si tous les paiements ont été effectués.\n",
		"en.md":    "# Terms\n\nTerminations have to be sent to the landlord. The tenant may end the contract when all of the payments were made.\n",
		"bolts.md": rows,
	})
	sluice(t, "ingest", "de.md", "fr.md", "en.md", "bolts.md").want(t, 0)
	for query, name := range map[string]string{"Kündigung": "de.md", "kundigung": "de.md", "résiliation": "fr.md", "termination": "en.md", "tensile strengths bolt-177": "bolts.md"} {
		sluice(t, "search", query, "--mode", "keyword", "-k", "1").want(t, 0).has(t, " 1. "+name)
	}
	sluice(t, "search", "tensile strength bolt-177", "--mode", "keyword", "-k", "1").want(t, 0).has(t, "Article | Tensile strength", "bolt-177")
}
