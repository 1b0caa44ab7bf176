package words

// common are the words of each language that say least about what a text is about,
// and most about what it is written in. Queries leave them out, and Detect counts
// them. The languages after the break have no stemmer: they are here so that a text
// in one of them is not taken for one of the others.
var common = map[string]string{
	English: `
a an the this that these those such same other another each every either neither both all any some no none few many much more most
i me my mine myself we us our ours you your yours he him his she her hers it its itself they them their theirs
who whom whose which what where when why how whether
am is are was were be been being do does did done doing have has had having can could may might must shall should will would
and or but nor so yet if then than else because since while though although unless until
of at by for with about against between into through during before after above below to from up down in out on off over under
again once here there now just only also too very not own as per via
dont doesnt didnt isnt arent wasnt werent wont cant im ive youre hes shes theyre thats whats`,
	"de": `
der die das den dem des ein eine einer eines einem einen und oder aber doch nicht kein keine keinen keiner ist sind war waren wird werden wurde wurden
worden sein seine seiner seinem seinen ihr ihre ihrer ihrem ihren ich du er sie es wir man sich mich dich uns euch ihm ihn ihnen mein dein unser
von vom zu zum zur mit bei nach aus auf an am im in für über unter durch gegen ohne um bis vor zwischen als wie wenn weil dass daß ob
auch nur noch schon sehr mehr so hat haben hatte hatten habe kann können konnte muss müssen soll sollen sollte darf dieser diese dieses diesem diesen
jede jeder jedes alle allen aller was wer wo wann warum welche welcher welches hier dort dann denn da sowie bzw etwa sondern damit dabei dazu beim ins`,
	"fr": `
le la les un une des du de au aux et ou mais donc or ni car que qui quoi dont où ce cet cette ces celui celle ceux je tu il elle on nous vous ils elles
me te se lui leur leurs mon ma mes ton ta tes son sa ses notre nos votre vos est sont était étaient être été sera seront avoir ont avait avec sans sous
sur dans par pour vers chez entre ne pas plus moins très aussi comme si même tout tous toute toutes autre autres quel quelle quels quelles
en y à fait peut doit ainsi lors depuis pendant avant après jusque selon l d j m n s t c qu`,
	"es": `
el la los las un una unos unas de del al y e o u pero que quien quienes cual cuales cuando donde como porque por para con sin sobre entre hasta desde
en a ante bajo se lo le les me te nos su sus mi mis tu tus nuestro nuestra es son era eran ser sido fue fueron está están estaba hay ha han había
no ni sí más menos muy ya también este esta estos estas ese esa esos esas aquel todo toda todos todas otro otra otros otras cada si según durante
yo él ella ellos ellas usted ustedes qué cuál cuándo dónde cómo puede pueden debe`,
	"it": `
il lo la i gli le un uno una di del dello della dei degli delle a al allo alla ai agli alle da dal dalla dai in nel nello nella nei nelle con su sul
sulla sui per tra fra e ed o ma se che chi cui non più anche come quando dove perché quale quali questo questa questi queste quello quella quelli
io tu lui lei noi voi loro mi ti ci vi si suo sua suoi sue mio mia nostro nostra è sono era erano essere stato stata sia ha hanno aveva avere
può deve ogni tutto tutti tutte altro altri altre molto solo già così dopo prima senza durante l d dell nell all dall sull un c`,
	"pt": `
o a os as um uma uns umas de do da dos das no na nos nas ao à aos às pelo pela pelos pelas em por para com sem sobre entre até desde e ou mas que quem
qual quais quando onde como porque se não mais menos muito já também este esta estes estas esse essa esses essas isto isso aquele todo toda todos todas
outro outra outros cada eu tu ele ela nós vós eles elas você vocês seu sua seus suas meu minha nosso nossa lhe é são era eram ser sido foi foram está
estão tem têm tinha há pode podem deve ainda só após durante`,
	"nl": `
de het een en of maar dat die dit deze niet geen is zijn was waren wordt worden werd werden ben bent heeft hebben had hadden kan kunnen zou zal zullen
moet moeten mag van voor met aan op in uit naar bij over onder door tegen tot om te als dan toen wanneer omdat ook nog wel al meer zeer zo ik jij je hij
zij ze wij we jullie hen hun mij me ons onze mijn jouw zich wat wie waar hoe welke welk er hier daar elke elk alle andere`,
	"da": `
den det de en et og eller men at som der er var være blev bliver blive har havde have ikke ingen til fra med for på i af om over under ved efter før mellem
jeg du han hun vi mig dig sig os jer dem min din sin vores deres hans hendes denne dette disse hvad hvem hvor hvornår hvordan hvorfor hvilken
kan kunne skal skulle vil ville må også kun når hvis så end mere meget alle andre efter uden nogle noget blevet`,
	"no": `
den det de en ei et og eller men at som er var være ble blir bli har hadde ha ikke ingen til fra med for på i av om over under ved etter før mellom
jeg du han hun vi meg deg seg oss dere dem min din sin vår vårt deres hans hennes denne dette disse hva hvem hvor når hvordan hvorfor hvilken
kan kunne skal skulle vil ville må også bare hvis så enn mer mye alle andre uten noen noe blitt`,
	"sv": `
den det de en ett och eller men att som är var vara blev blir bli har hade ha inte ingen inga till från med för på i av om över under vid efter före mellan
jag du han hon vi mig dig sig oss er dem min din sin sitt vår vårt deras hans hennes denna detta dessa vad vem var när hur varför vilken vilka
kan kunde ska skall skulle vill ville måste också bara så än mer mycket alla andra utan några något blivit`,
	"fi": `
ja tai mutta että jos kun koska kuin niin myös ei eivät en et emme ole on oli olivat olla ollut ovat olen se ne tämä nämä tuo joka jotka mikä mitä kuka
hän he me te minä sinä sen sitä siitä siinä niiden tämän tässä jonka jossa joita kaikki muu muut vain vielä jo nyt sekä ennen jälkeen kanssa ilman mukaan
voi voidaan pitää hyvin enemmän sille sillä heidän hänen meidän`,
	"hu": `
a az egy és vagy de hogy ha mert mint nem ne is csak már még meg ki be le fel el van volt lesz voltak vannak lenne kell lehet ez ezt ezek azt azok
én te ő mi ti ők aki ami amely amelyek ahol amikor mikor hol hogyan miért mely minden más után előtt között alatt felett szerint nélkül való illetve
nagyon több sem pedig majd ott itt ennek annak által során`,
	"ro": `
și sau dar că ca de la în din cu pe pentru prin către fără despre între după până un o unei unui unor al ai ale lui ei lor este sunt era erau fi fost
fie a am ai au avea nu mai foarte tot toate toți acest această aceste acești acel acea care ce cine unde când cum cât eu tu el ea noi voi ele
se îi îl își meu său sa sale nostru poate trebuie si in sunt iar deci astfel doar`,
	"tr": `
ve veya ama ancak ile için gibi kadar daha çok en az bir bu şu o bunlar şunlar onlar ben sen biz siz ne kim nerede nasıl neden hangi mi mı mu mü
değil var yok olan olarak olduğu oldu olur olması ise de da ki her tüm bütün diğer sonra önce göre arasında üzerinde altında tarafından ya hem
bunun onun bana sana bize size ona buna`,
	"ga": `
an na agus nó ach go gur nach ní níor is ba bhí tá atá bheith beidh bhfuil raibh ar ag as do de faoi i in le ó roimh trí um chun gan mar má dá
sé sí siad mé tú sinn sibh é í iad mo do a ár bhur seo sin siúd cad cé cá conas cathain gach eile freisin féin nuair leis don den sa san`,
	"ru": `
и в во не что он на я с со как а то все она так его но да ты к у же вы за бы по только ее её мне было вот от меня еще ещё нет о из ему теперь когда даже
ну ли если уже или ни быть был была были него до вас нибудь опять уж вам ведь там потом себя ничего ей может они тут где есть надо ней для мы тебя их чем
сам чтоб без будто чего раз тоже себе под будет кто этот того потому этого какой это эта эти при об через также который которая которые которых`,
	"ar": `
في من على إلى عن مع هذا هذه ذلك تلك التي الذي الذين ما لا لم لن أن إن كان كانت يكون هو هي هم نحن أنا أنت كل بعض غير بين بعد قبل عند حتى ثم أو أم بل
لكن قد كما إذا حيث أي منذ خلال تم يتم وقد ولا وفي ومن وهو وهي لها له به بها فيه فيها عليه عليها وأن`,
	"ta": ``,

	"pl": `
i w z na do nie się że jest to o jak ale od po co czy dla już tylko przez ich za być był była było były są oraz lub ten ta te tego tej tym który która które
których jego jej nas może można przed przy pod nad bez między gdy tak także jako ze we jeśli`,
	"cs": `
a i v ve na se si že je to o s z do od po pro za by byl byla bylo byli jsou jsem není nebo ale který která které jak jako tak také jeho její
při před mezi pod nad bez když aby již jen ještě být může podle tento tato toto`,
	"sk": `
a aj v vo na sa si že je to o s z do od po pre za by bol bola bolo boli sú som nie alebo ale ktorý ktorá ktoré ako tak tiež jeho jej pri pred medzi pod
nad bez keď aby už len ešte byť môže podľa tento táto toto`,
	"hr": `
i u na se da je su za od do s sa o kao ali ili ne nije biti bio bila bilo koji koja koje kako što te iz po prema pri bez između nakon prije kada ako samo
već još može ovaj ova ovo taj to njegov`,
	"sl": `
in v na se da je so za od do s z o kot ali ne ni bil bila bilo biti ki kako kaj ter iz po pri brez med pred ko če samo že še lahko ta to njegov`,
	"ca": `
el la els les un una uns unes de del dels al als i o però que qui quan on com perquè per amb sense sobre entre fins des en a es ho li seu seva és són era
ser ha han no més molt també aquest aquesta aquests tot tots altres cada si`,
	"id": `
yang dan di ke dari untuk dengan pada adalah ini itu tidak akan oleh atau juga sebagai dalam telah dapat ada saya kami kita mereka dia lebih karena
bahwa tersebut sudah secara antara seperti bisa harus`,
	"vi": `
và của là có các được cho không trong một với những này để đã từ khi người đến về như tại cũng theo nhưng hoặc đó ra vào trên`,
	"et": `
ja on ei et see oli ka kui ta mis oma või aga siis veel kes nii kuid ning selle seda need olid olla pole ole välja mida tema kus enne pärast`,
	"lt": `
ir yra ne kad tai su iš į apie bet ar kaip jo jos buvo būti per nuo iki prie už po arba kuris kuri kurie taip pat tik jau dar`,
	"lv": `
un ir ne ka tas ar no uz par bet vai kā viņa bija būt pie pēc līdz arī tikai jau vēl kas kur šis šī tiek`,
	"eo": `
la kaj de en al estas estis ne por kun sur el ke ĝi li ŝi ili kiu kio tio tiu ĉi aŭ sed per pri ankaŭ pli tre`,
	"uk": `
і й та в у на не що з за до як це він вона вони ми ви але або від по для при про його її їх був була було були є бути який яка які також ще вже тільки може
під між після якщо коли де`,
	"bg": `
и в на не че се от за с със да е са по като но или той тя те ние вие това този тази тези който която които беше бяха съм има няма също още вече само може
при между след преди ако когато къде`,
	"sr": `
и у на се да је су за од до с са о као али или не није бити био била било који која које како што те из по према при без између након пре када ако само већ
још може овај ова ово`,
	"el": `
και το τα τη την της του των ο η οι ένα μια με σε για από που να δεν είναι θα στο στη στην στον τον τους ως ότι αν ή αλλά όπως πως`,
	"he": `
של את על לא הוא היא זה זאת אני אתה הם עם כי או גם כל אם יש אין מה היה היו להיות אבל רק יותר כמו בין לפי אחר`,
	"kk": ``, // and other languages of Central Asia in Cyrillic letters, by these
	"fa": `
و در به از که این را با است برای آن یک خود تا بر هم نیز شده می شود بود کرد اما یا هر آنها ما شما دارد کند باید`,
}
