package words

// labels are words that stand in invoices, forms, letters and the heads of tables.
// Such documents have few of the common words, and many of these. Detect counts them
// twice; queries keep them.
var labels = map[string]string{
	English: `
invoice customer client quantity amount price unit subtotal description item order number date due payment terms address phone street city
contract tenant landlord signature employee employer account balance delivery receipt page subject dear sincerely regards attachment`,
	"de": `
rechnung rechnungsnummer rechnungsdatum kunde kunden kundennummer menge einzelpreis gesamtpreis betrag gesamtbetrag zwischensumme mehrwertsteuer
mwst ust beschreibung bezeichnung artikel stück preis summe zahlbar fällig tagen anschrift straße ort plz telefon vertrag vertrags mieter vermieter
unterschrift lieferschein lieferung bestellung angebot gewicht seite betreff sehr geehrte geehrter grüßen anlage konto überweisung vorname nachname
geburtsdatum bemerkung gültig bericht übersicht inhaltsverzeichnis abteilung mitarbeiter`,
	"fr": `
facture factures client quantité montant prix unitaire désignation tva ttc ht échéance paiement règlement adresse téléphone rue ville contrat locataire
bailleur signature livraison commande devis poids objet madame monsieur salutations joint compte virement prénom nom naissance jours rapport sommaire
société siège remise acompte référence`,
	"es": `
factura facturas cliente cantidad importe precio unitario descripción iva subtotal vencimiento pago dirección teléfono calle ciudad contrato
arrendatario arrendador inquilino firma entrega pedido presupuesto peso asunto estimado estimada atentamente adjunto cuenta nombre apellidos nacimiento
días fecha informe empresa imponible albarán nif`,
	"it": `
fattura fatture cliente quantità importo prezzo unitario descrizione iva imponibile scadenza pagamento indirizzo telefono via città contratto
locatario locatore firma consegna ordine preventivo peso oggetto gentile cordiali saluti allegato conto bonifico nome cognome nascita giorni relazione
indice azienda totale`,
	"pt": `
fatura faturas cliente quantidade valor preço unitário descrição iva vencimento pagamento endereço morada telefone rua cidade contrato locatário
senhorio inquilino assinatura entrega encomenda pedido orçamento peso assunto prezado atenciosamente anexo conta nome sobrenome nascimento dias relatório
empresa cnpj cpf nif`,
	"nl": `
factuur factuurnummer factuurdatum klant klantnummer aantal bedrag prijs stuksprijs omschrijving btw totaal subtotaal vervaldatum betaling adres
telefoon straat plaats postcode huurder verhuurder handtekening levering bestelling offerte gewicht onderwerp geachte groet bijlage rekening voornaam
achternaam geboortedatum dagen verslag inhoudsopgave`,
	"da": `
faktura fakturanummer kunde antal beløb pris enhedspris beskrivelse moms subtotal forfaldsdato betaling adresse gade by postnummer lejer udlejer
underskrift levering ordre tilbud vægt emne kære hilsen bilag konto fornavn efternavn fødselsdato dage rapport indhold varenummer`,
	"no": `
faktura fakturanummer kunde antall beløp pris enhetspris beskrivelse mva delsum forfallsdato betaling adresse gate poststed postnummer leietaker utleier
underskrift levering bestilling tilbud vekt emne kjære hilsen vedlegg konto fornavn etternavn fødselsdato dager rapport innhold varenummer`,
	"sv": `
faktura fakturanummer kund kundnummer antal belopp pris styckpris beskrivning moms delsumma förfallodatum betalning adress gata ort postnummer hyresgäst
hyresvärd underskrift leverans beställning offert vikt ämne hej hälsningar bilaga konto förnamn efternamn födelsedatum dagar rapport innehåll artikel`,
	"fi": `
lasku laskun laskunumero asiakas asiakkaan määrä hinta yksikköhinta summa kuvaus alv yhteensä eräpäivä maksu osoite puhelin katu postinumero vuokralainen
vuokranantaja allekirjoitus toimitus tilaus tarjous paino aihe hyvä terveisin liite tili etunimi sukunimi syntymäaika päivää raportti sisällys sopimus
päivämäärä tuote`,
	"hu": `
számla számlaszám ügyfél vevő eladó mennyiség összeg ár egységár leírás megnevezés áfa nettó bruttó összesen esedékesség fizetés fizetési cím telefon utca
város szerződés bérlő aláírás szállítás rendelés ajánlat súly tárgy tisztelt üdvözlettel melléklet bankszámla név vezetéknév keresztnév születési nap
jelentés tartalom határidő`,
	"ro": `
factura factură client cantitate valoare preț unitar descriere tva total scadență plată adresă adresa telefon strada oraș contract chiriaș proprietar
semnătura livrare comandă ofertă greutate subiect stimate stimată anexă cont nume prenume nașterii zile raport cuprins societate`,
	"tr": `
fatura müşteri miktar adet tutar fiyat birim açıklama kdv toplam vade ödeme adres telefon sokak cadde şehir sözleşme kiracı imza teslimat sipariş teklif
ağırlık konu sayın saygılar saygılarımla ek hesap ad soyad doğum gün rapor içindekiler tarih şirket`,
	"ga": `
sonrasc custaiméir cainníocht méid praghas cur síos iomlán íocaíocht seoladh guthán sráid cathair conradh tionónta síniú seachadadh ordú ábhar ainm
sloinne dáta lá tuairisc clár`,
	"ru": `
счет счёт счета покупатель поставщик клиент количество сумма цена единица наименование описание ндс итого всего оплата оплате оплаты срок адрес телефон улица
город договор договора арендатор арендодатель подпись доставка заказ предложение вес тема уважаемый уважаемая уважением приложение банк имя фамилия
отчество рождения дней рублей руб отчет отчёт содержание дата инн организация`,
	"ar": `
فاتورة الفاتورة العميل الزبون الكمية المبلغ السعر الوصف الضريبة المجموع الإجمالي الدفع العنوان الهاتف الشارع المدينة العقد المستأجر المؤجر التوقيع التسليم
الطلب الموضوع السيد السيدة التحية مرفق الحساب الاسم اللقب الميلاد التاريخ تاريخ تقرير شركة رقم`,

	"pl": `
faktura nabywca sprzedawca ilość kwota cena jednostkowa opis razem termin płatności adres telefon ulica miasto umowa najemca podpis dostawa zamówienie
oferta waga temat szanowny szanowna załącznik konto imię nazwisko urodzenia dni raport data netto brutto vat`,
	"cs": `faktura odběratel dodavatel množství částka cena popis celkem splatnost splatnosti adresa telefon ulice město smlouva podpis dodávka objednávka dph datum jméno příjmení`,
	"sk": `faktúra odberateľ dodávateľ množstvo suma cena popis spolu splatnosť adresa telefón ulica mesto zmluva podpis dodávka objednávka dph dátum meno priezvisko`,
	"hr": `račun kupac prodavatelj količina iznos cijena opis ukupno dospijeće adresa telefon ulica grad ugovor potpis isporuka narudžba pdv datum ime prezime`,
	"sl": `račun kupec količina znesek cena opis skupaj zapadlost naslov telefon ulica mesto pogodba podpis dobava naročilo ddv datum ime priimek`,
	"ca": `factura client quantitat import preu unitari descripció iva venciment pagament adreça telèfon carrer ciutat contracte signatura lliurament comanda nom cognoms data dies`,
	"id": `faktur pelanggan jumlah harga satuan keterangan pajak jatuh tempo pembayaran alamat telepon jalan kota kontrak tanda tangan pengiriman pesanan nama tanggal hari`,
	"vi": `khách hàng số lượng giá tiền cộng thuế thanh toán địa chỉ điện thoại đường thành phố hợp đồng ký tên ngày hóa đơn`,
	"et": `arve klient kogus summa hind kirjeldus käibemaks kokku maksetähtaeg aadress telefon tänav linn leping allkiri tellimus nimi kuupäev`,
	"lt": `sąskaita faktūra pirkėjas pardavėjas kiekis suma kaina aprašymas pvm iš viso adresas telefonas gatvė miestas sutartis parašas užsakymas vardas pavardė data`,
	"lv": `rēķins pircējs daudzums summa cena apraksts pvn kopā adrese tālrunis iela pilsēta līgums paraksts pasūtījums vārds uzvārds datums`,
	"uk": `рахунок покупець постачальник клієнт кількість сума ціна найменування опис пдв разом всього оплата оплати строк адреса телефон вулиця місто договір підпис доставка замовлення дата гривень`,
	"bg": `фактура клиент доставчик количество сума цена наименование описание ддс общо плащане срок адрес телефон улица град договор подпис доставка поръчка дата лева`,
	"sr": `рачун купац количина износ цена опис укупно адреса телефон улица град уговор потпис испорука датум име презиме`,
	"el": `τιμολόγιο πελάτης ποσότητα ποσό τιμή περιγραφή φπα σύνολο πληρωμή διεύθυνση τηλέφωνο οδός πόλη σύμβαση υπογραφή παράδοση παραγγελία ημερομηνία όνομα`,
	"he": `חשבונית לקוח כמות סכום מחיר תיאור מעמ סהכ תשלום כתובת טלפון רחוב עיר חוזה חתימה משלוח הזמנה תאריך שם`,
	"fa": `فاکتور مشتری تعداد مبلغ قیمت شرح مالیات جمع پرداخت آدرس نشانی تلفن خیابان شهر قرارداد امضا تحویل سفارش تاریخ نام`,
}

// telling are letters that one language has and those that it could be taken for
// have not. A word with letters of one language alone counts as a common word. The
// last two rows hold the letters of several languages, as what Russian and Arabic
// are not.
var telling = map[string]string{
	"de": "ß", "es": "ñ", "hu": "őű", "pt": "ã", "ro": "țș", "ru": "ыэё", "tr": "ğı", "ar": "ةيكإأى",

	"pl": "łąęśźż", "cs": "řůě", "vi": "ạảấầẩẫậắằẳẵặẹẻẽếềểễệỉịọỏốồổỗộớờởỡợụủứừửữựỳỵỷỹđ", "lv": "āēīūļņķģ", "lt": "ėųį",
	"uk": "іїєґ", "sr": "јљњћђџ",
	"kk": "әғқңөұүһҗҙҫў",
	"fa": "پچژگکیہےٹڈںښځڅړږټډګېۍەێۆڕ",
}
