package words

import (
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// Sentences of the kind that documents have, written for this test.
var sentences = map[string]string{
	"en": "The customer may cancel the contract within fourteen days after it was signed, and all payments that were made are returned to the same account.",
	"de": "Der Kunde kann den Vertrag innerhalb von vierzehn Tagen nach der Unterschrift kündigen, und alle Zahlungen werden auf dasselbe Konto erstattet.",
	"fr": "Le client peut résilier le contrat dans les quatorze jours qui suivent la signature, et tous les paiements sont remboursés sur le même compte.",
	"es": "El cliente puede cancelar el contrato en los catorce días siguientes a la firma, y todos los pagos se devuelven a la misma cuenta sin gastos.",
	"it": "Il cliente può recedere dal contratto entro quattordici giorni dalla firma, e tutti i pagamenti sono rimborsati sullo stesso conto senza spese.",
	"pt": "O cliente pode cancelar o contrato até catorze dias depois da assinatura, e todos os pagamentos são devolvidos para a mesma conta sem custos.",
	"nl": "De klant kan het contract binnen veertien dagen na de ondertekening opzeggen, en alle betalingen worden op dezelfde rekening teruggestort.",
	"da": "Kunden kan opsige aftalen inden fjorten dage efter at den er blevet underskrevet, og alle betalinger bliver ført tilbage til den samme konto af os.",
	"no": "Kunden kan si opp avtalen innen fjorten dager etter at den er blitt underskrevet, og alle betalinger blir ført tilbake til den samme kontoen av oss.",
	"sv": "Kunden kan säga upp avtalet inom fjorton dagar efter att det har skrivits under, och alla betalningar återförs till samma konto utan att något dras av.",
	"fi": "Asiakas voi purkaa sopimuksen neljäntoista päivän kuluessa siitä, kun se on allekirjoitettu, ja kaikki maksut palautetaan samalle tilille, jos ne ovat tulleet.",
	"hu": "Az ügyfél a szerződést az aláírás után tizennégy napon belül felmondhatja, és minden befizetés, amely már megtörtént, ugyanarra a számlára kerül vissza, ha van ilyen.",
	"ro": "Clientul poate rezilia contractul în termen de paisprezece zile de la semnare, iar toate plățile care au fost făcute sunt returnate în același cont.",
	"tr": "Müşteri, imzadan sonra on dört gün içinde sözleşmeyi iptal edebilir ve yapılan tüm ödemeler aynı hesaba iade edilir; bunun için bir neden göstermek gerekli değil.",
	"ga": "Is féidir leis an gcustaiméir an conradh a chur ar ceal laistigh de cheithre lá dhéag, agus tá na híocaíochtaí go léir le cur ar ais sa chuntas céanna.",
	"ru": "Клиент может расторгнуть договор в течение четырнадцати дней после подписания, и все платежи возвращаются на тот же счёт, если они были сделаны.",
	"ar": "يجوز للعميل إلغاء العقد في غضون أربعة عشر يوما من التوقيع على أن تعاد كل المدفوعات التي تم دفعها إلى الحساب نفسه من قبل الشركة.",
	"ta": "வாடிக்கையாளர் கையொப்பமிட்ட பதினான்கு நாட்களுக்குள் ஒப்பந்தத்தை ரத்து செய்யலாம், அனைத்து கட்டணங்களும் அதே கணக்கிற்கு திருப்பி அனுப்பப்படும்.",
	// Without a stemmer.
	"pl": "Klient może rozwiązać umowę w ciągu czternastu dni od jej podpisania, a wszystkie płatności są zwracane na to samo konto, o ile nie było inaczej.",
	"cs": "Zákazník může smlouvu vypovědět do čtrnácti dnů od podpisu a všechny platby se vracejí na stejný účet, pokud to není jinak a nebo je to jinak.",
	"uk": "Клієнт може розірвати договір протягом чотирнадцяти днів після підписання, і всі платежі повертаються на той самий рахунок, якщо вони були зроблені.",
	"bg": "Клиентът може да прекрати договора в срок от четиринадесет дни след подписването и всички плащания се връщат по същата сметка, ако са направени.",
	"el": "Ο πελάτης μπορεί να καταγγείλει τη σύμβαση μέσα σε δεκατέσσερις ημέρες από την υπογραφή και όλες οι πληρωμές επιστρέφονται στον ίδιο λογαριασμό.",
	"he": "הלקוח רשאי לבטל את החוזה בתוך ארבעה עשר ימים מיום החתימה, וכל התשלומים יוחזרו אל אותו חשבון אם הם שולמו.",
	"ca": "El client pot cancel·lar el contracte en els catorze dies següents a la signatura, i tots els pagaments es tornen al mateix compte sense despeses.",
	"id": "Pelanggan dapat membatalkan kontrak dalam empat belas hari setelah ditandatangani, dan semua pembayaran yang telah dilakukan akan dikembalikan ke rekening yang sama.",
	"ja": "顧客は署名から十四日以内に契約を解除することができ、支払われたすべての金額は同じ口座に返金されます。",
	"zh": "客户可以在签字后十四天内解除合同，所有已付款项将退回同一账户。",
}

// What offices write has few of the common words. Written for this test.
var forms = map[string]string{
	"en": "# Invoice 118\n\nCustomer: Moor Ltd, 5 Mill Street\n\n| Item | Quantity | Unit price | Amount |\n|---|---|---|---|\n| Zinc screws | 100 | 0.12 | 12.00 |\n\nSubtotal 12.00",
	"de": "# Rechnung Nr. 118\n\nKunde: Moor GmbH, Mühlgasse 5\n\n| Position | Beschreibung | Menge | Einzelpreis | Betrag |\n|---|---|---|---|---|\n| 1 | Zinkschrauben | 100 | 0,12 | 12,00 |\n\nZwischensumme 12,00 EUR",
	"fr": "# Facture n° 118\n\nClient : SARL Moreau\n\n| Désignation | Quantité | Prix unitaire | Montant |\n|---|---|---|---|\n| Vis zinguées | 100 | 0,12 | 12,00 |\n\nTVA 20 %",
	"es": "Factura 118\nCliente: Talleres Mora\nTornillos de zinc 100 0,12 12,00\nBase imponible 12,00\nIVA 21 %\nImporte 14,52",
	"it": "Fattura n. 118\nCliente: Officine Mori\nQuantità 100, prezzo unitario 0,12\nImponibile 12,00\nIVA 22 %",
	"pt": "Fatura 118\nCliente: Oficinas Moura\nQuantidade 100, preço unitário 0,12\nData de vencimento 3/5",
	"nl": "Factuur 118\nKlant: Moor BV\nOmschrijving: zinkschroeven\nAantal 100\nBedrag 12,00\nBTW 21 %",
	"da": "Faktura 118\nBeskrivelse: zinkskruer\nAntal 100\nEnhedspris 0,12\nBeløb 12,00\nMoms 25 %\nForfaldsdato 3/5",
	"no": "Faktura 118\nBeskrivelse: sinkskruer\nAntall 100\nEnhetspris 0,12\nBeløp 12,00\nMVA 25 %\nForfallsdato 3/5",
	"sv": "Faktura 118\nBeskrivning: zinkskruvar\nAntal 100\nStyckpris 0,12\nBelopp 12,00\nMoms 25 %\nFörfallodatum 3/5",
	"fi": "Lasku 118\nAsiakas: Moor Oy\nSinkkiruuvit, määrä 100\nYksikköhinta 0,12\nYhteensä 12,00",
	"hu": "Számla 118\nVevő: Mór Kft.\nHorganyzott csavar, mennyiség 100\nEgységár 0,12\nÖsszesen 12,00",
	"ro": "Factură 118\nClient: Moraru SRL\nȘuruburi zincate, cantitate 100\nPreț unitar 0,12\nValoare 12,00",
	"tr": "Fatura No 118\nMüşteri: Moral Ticaret\nÇinko vida, adet 100\nBirim fiyat 0,12\nToplam 12,00",
	"ru": "Счёт № 118\nПокупатель: ООО Мороз\nВинты, количество 100\nЦена 0,12\nИтого 12,00",
	"ar": "فاتورة رقم 118\nالعميل: شركة النور\nالكمية 100\nالمجموع 12",
	// By their letters.
	"de ": "Größe, Maße, Straße, Fußboden, Schweißgerät",
	"tr ": "Kırmızı ışıklar, dağlar, ağaçlar, balıklar",
	"hu ": "Tölgyerdő, gyűrűfűz, fűnyíró, őszi szőlő",
	"ru ": "Рыбы, пчёлы, мыши, экраны",
	"ar ": "مكتبة المدينة الكبيرة، كتب قديمة، مدرسة جديدة",
	// Without a stemmer.
	"kk": "Тауықтар қырда жүр, ыдыс үстел үстінде, қызыл алма ағаштың астында, балық өзенде.",
	"ur": "پانی کی قیمت، کتابیں، لڑکی، گھر، دفتر کی چابی، خریداری",
	"pl": "Faktura 118\nNabywca: Mróz sp. z o.o.\nIlość 100\nCena jednostkowa 0,12\nRazem 12,00",
	"uk": "Рахунок 118\nПокупець: ТОВ Мороз\nКількість 100\nЦіна 0,12\nРазом 12,00",
	"bg": "Фактура 118\nКлиент: Мороз ООД\nКоличество 100\nЦена 0,12\nОбщо 12,00",
	"ca": "Factura 118\nClient: Tallers Mora\nQuantitat 100\nPreu unitari 0,12\nVenciment 3/5",
	"fa": "فاکتور ۱۱۸\nمشتری: شرکت نور\nتعداد ۱۰۰\nقیمت ۱۲\nجمع ۱۲",
	"vi": "Hóa đơn 118\nKhách hàng: Công ty Mộc\nSố lượng 100\nThành tiền 12",
}

func TestDetectForms(t *testing.T) {
	for code, text := range forms {
		want := Language(code)
		if want == English {
			want = "" // stemmed alike
		}
		got := Detect(text)
		if got == English {
			got = ""
		}
		if got != want {
			t.Errorf("%s: %q, want %q: %s", code, got, want, text)
		}
	}
}

func TestDetect(t *testing.T) {
	for code, text := range sentences {
		want := Language(code)
		for name, s := range map[string]string{
			"once": text, "upper": strings.ToUpper(text), "marked": "# 1.2\n\n- **" + text + "** [x](http://example.org/a-b)\n\n```go\nfunc main() {}\n```\n",
			"long": strings.Repeat(text+"\n", 2000),
		} {
			if got := Detect(s); got != want {
				t.Errorf("%s, %s: %q, want %q", code, name, got, want)
			}
		}
	}
	for _, none := range []string{"", "Invoice 4711", "XK-2000/b 12.5 EUR", "| a | b |\n|---|---|\n| 1 | 2 |"} {
		if got := Detect(none); got != "" {
			t.Errorf("%.60q is taken for %q", none, got)
		}
	}
}

func TestLanguage(t *testing.T) {
	for tag, want := range map[string]string{"de": "de", "de-AT": "de", "EN_us": "en", "nb-NO": "no", "nn": "no", "pl": "", "": "", "x": "", " fr ": "fr"} {
		if got := Language(tag); got != want {
			t.Errorf("%q is %q, want %q", tag, got, want)
		}
	}
}

// The forms of a word in each language that there is a stemmer for.
func TestFormsOfWords(t *testing.T) {
	for code, forms := range map[string][]string{
		"en": {"invoices", "invoice"}, "de": {"Kündigungen", "Kündigung", "kundigung"}, "fr": {"résiliations", "résiliation", "resiliation"},
		"es": {"obligaciones", "obligación"}, "it": {"pagamenti", "pagamento"}, "pt": {"contratos", "contrato"}, "nl": {"betalingen", "betaling"},
		"da": {"betalinger", "betaling"}, "no": {"betalinger", "betaling"}, "sv": {"betalningar", "betalning"}, "fi": {"taloissa", "taloissani"},
		"hu": {"szerződések", "szerződés"}, "ro": {"contractele", "contractul"}, "tr": {"sözleşmeler", "sözleşme"}, "ga": {"bádóireacht", "bádóir"},
		"ru": {"договоры", "договора", "договору"}, "ar": {"العقود", "عقود"}, "ta": {"மாணவர்கள்", "மாணவர்"},
	} {
		a := NewAnalyzer()
		a.Use(code)
		a.Add(forms[0], InText)
		terms, _ := a.Take()
		for _, form := range forms[1:] {
			found := false
			for _, k := range a.Query(form, code) {
				for _, m := range terms {
					found = found || m.Key() == k.Key
				}
			}
			if !found {
				t.Errorf("%s: %q does not find %q", code, form, forms[0])
			}
		}
	}
}

func TestQueryInLanguages(t *testing.T) {
	a := NewAnalyzer()
	for _, test := range []struct {
		text  string
		codes []string
		words int
		keys  int
	}{
		{"refund", nil, 1, 1},
		{"refund", []string{"en", "", "xx"}, 1, 1},
		{"running", []string{"de"}, 1, 2},       // run, running
		{"XK 2000", []string{"de", "fr"}, 2, 2}, // the same in all
		{"die Kündigung", []string{"de"}, 2, 3}, // "die" is a word in English
		{"l'énergie", []string{"fr"}, 2, 2},     // lenergie, or energie
		{"the policy", []string{"fr"}, 2, 3},    // "the" may be tea in French
		{"東京タワー", []string{"de", "fr"}, 4, 4},
		{"who is it", nil, 3, 3},
	} {
		asked := a.Query(test.text, test.codes...)
		words := 0
		for i, k := range asked {
			if i > 0 && k.Word != asked[i-1].Word && k.Word != asked[i-1].Word+1 {
				t.Errorf("%q: words are %v", test.text, asked)
			}
			words = max(words, k.Word+1)
		}
		if len(asked) != test.keys || words != test.words {
			t.Errorf("%q in %q: %d words, %d keys, want %d, %d", test.text, test.codes, words, len(asked), test.words, test.keys)
		}
	}
}

func TestWhatIsAskedIsFound(t *testing.T) {
	codes := []string{"de", "fr", "es", "ru", "tr", "", "en", "hu"}
	a := NewAnalyzer()
	rapid.Check(t, func(t *rapid.T) {
		code := rapid.SampledFrom(codes).Draw(t, "code")
		word := rapid.StringMatching(`[a-zäöüßéèçñıİа-я0-9]{1,20}`).Draw(t, "word")
		a.Use(code)
		a.Add(word, InText)
		terms, _ := a.Take()
		has := make(map[Key]bool)
		for _, m := range terms {
			has[m.Key()] = true
		}
		asked := a.Query(word, codes...)
		found := false
		for _, k := range asked {
			found = found || has[k.Key]
		}
		if !found && len(asked) > 0 {
			t.Fatalf("%q in %q is not found by itself", word, code)
		}
	})
}

func FuzzDetect(f *testing.F) {
	for _, s := range sentences {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if code := Detect(s); code != "" && Language(code) != code {
			t.Fatalf("%q is no language", code)
		}
	})
}

func BenchmarkDetect(b *testing.B) {
	text := strings.Repeat(sentences["de"]+"\n", 500)
	for b.Loop() {
		Detect(text)
	}
}
