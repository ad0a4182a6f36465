"""The forms of questions and requests of texts.py, and what they are about. All written for it.

`{kind}` is a word of that kind, `{a kind}` one with its article, `{kind+}` its plural; a number
behind the kind (`{food2}`) only tells two apart.
"""

BEFORE = [
    "Please tell me: ", "Hi, ", "Hello! ", "Quick question: ", "Hey, ", "Can you help me? ",
    "I was wondering, ", "Could you please tell me ", "I'd like to know ", "Does anyone know ",
    "Can someone explain ", "I have a question: ", "Sorry to ask, but ", "Can anyone tell me ",
]  # fmt: skip
AFTER = [
    " Thanks!", " Thank you in advance.", " Please explain.", " Please help.", " Any advice?",
    " I need this urgently.", " Explain step by step.", " Keep it short.", " Cheers",
]  # fmt: skip

LISTS = {
    "tech": """Python|JavaScript|Java|C++|C#|Rust|Go|TypeScript|Ruby|PHP|Swift|Kotlin|SQL|PostgreSQL|MySQL|
        MongoDB|Redis|SQLite|Linux|Ubuntu|Windows 10|Windows 11|macOS|Android|iOS|an iPhone|Docker|Kubernetes|
        Git|GitHub|AWS|Azure|Google Cloud|React|Angular|Vue|Node.js|Django|Flask|Spring Boot|Laravel|Excel|
        Word|PowerPoint|Photoshop|WordPress|Gmail|Outlook|Google Chrome|Firefox|Bash|PowerShell|Vim|VS Code|
        Pandas|NumPy|TensorFlow|PyTorch|HTML|CSS|JSON|XML|regex|nginx|Apache|Jenkins|Terraform|Ansible|Hadoop|
        Spark|Kafka|WhatsApp|Facebook|Instagram|YouTube|Twitter|Snapchat|LinkedIn|Skype|Slack|Google Sheets|
        Google Maps|Amazon|Netflix|Uber|PayPal|Bitcoin|a Raspberry Pi|an Arduino|MATLAB|LaTeX|R|Scala|Perl|Unity""",
    "task": """sort a list|reverse a string|read a file line by line|parse a date|merge two tables|delete a branch|
        undo the last commit|rename a column|convert a string to an integer|remove duplicates|connect to a database|
        send an email|upload a file|download a video|recover a deleted file|reset my password|change my username|
        delete my account|block someone|hide my profile|take a screenshot|install a package|update the driver|
        speed up my computer|free up disk space|fix a blue screen|back up my photos|set up two-factor authentication|
        schedule a job|write unit tests|handle exceptions|make an HTTP request|scrape a website|plot a graph|
        train a model|resize an image|compress a folder|encrypt a file|create a table|add an index|iterate over a map|
        join two strings|round a number|generate a random number|find the largest element|check whether a key exists|
        copy an array|split a string by a comma|open a port|kill a process|list running containers|roll back a deployment|
        mount a drive|restore a backup|export data to CSV|import contacts|merge cells|insert a page break|
        remove the background of a picture|record my screen|share my location|turn off notifications|clear the cache|
        block ads|transfer files to another phone|unlock a phone|see who viewed my profile|get more followers""",
    "doing": """lose weight|gain weight|build muscle|run a marathon|quit smoking|stop drinking|sleep better|wake up early|
        get rid of acne|grow taller|reduce belly fat|lower cholesterol|improve my eyesight|whiten teeth|cure a cold|
        treat a sore throat|get pregnant|learn English|learn French|learn Spanish|learn German|learn Chinese|learn to code|
        play the guitar|play the piano|play chess|paint|draw|sing|dance|swim|cook rice|bake bread|make pizza|make coffee|
        boil an egg|write a book|write a poem|write a cover letter|write a resume|prepare for an interview|find a job|
        change careers|ask for a raise|quit my job|start a business|start a blog|earn money online|make money fast|
        save money|invest in stocks|buy a house|rent an apartment|sell my car|get a loan|pay off debt|improve my credit score|
        file taxes|open a bank account|apply for a visa|get a passport|travel alone|book cheap flights|pack a suitcase|
        study abroad|study for exams|pass the exam|get into a good university|improve my grades|improve my memory|
        improve my handwriting|improve my English|speak in public|overcome shyness|overcome fear|be confident|be happy|
        stop overthinking|stop procrastinating|deal with stress|deal with anxiety|deal with depression|get over a breakup|
        make friends|find a girlfriend|find a boyfriend|ask a girl out|save a marriage|tell my parents the truth|
        raise a child|train a dog|adopt a cat|clean a carpet|remove a stain|fix a leaking tap|paint a room|grow tomatoes|
        plant a tree|change a tire|drive a car|ride a motorcycle|ride a bike|fly a plane|become a doctor|become a lawyer|
        become a pilot|become a millionaire|become a data scientist|join the army|become an actor|meditate|do yoga|
        solve a Rubik's cube|calculate the area of a circle|solve a quadratic equation|find the derivative|read faster|
        watch movies online|remember names|say no|apologise|live without regrets|move to another country|vote|donate blood""",
    "topic": """machine learning|artificial intelligence|deep learning|neural networks|blockchain|cloud computing|cyber security|
        quantum computing|quantum mechanics|relativity|gravity|black holes|dark matter|the Big Bang|evolution|natural selection|
        photosynthesis|climate change|global warming|renewable energy|solar panels|nuclear power|electric cars|inflation|
        interest rates|unemployment|GDP|the stock market|mutual funds|cryptocurrency|taxes|insurance|mortgages|capitalism|
        socialism|communism|democracy|the constitution|human rights|feminism|racism|immigration|gun control|abortion|
        the death penalty|World War I|World War II|the Cold War|the French Revolution|the Roman Empire|ancient Egypt|
        the Renaissance|slavery|colonialism|Islam|Christianity|Hinduism|Buddhism|Judaism|atheism|philosophy|ethics|stoicism|
        psychology|depression|anxiety|autism|ADHD|bipolar disorder|diabetes|cancer|high blood pressure|migraine|asthma|
        allergies|vaccines|antibiotics|vitamin D|protein|a vegan diet|intermittent fasting|the keto diet|sugar|caffeine|
        alcohol|pregnancy|menopause|sleep|dreams|memory|intelligence|the human brain|the heart|the immune system|DNA|
        genetics|stem cells|viruses|bacteria|the periodic table|acids and bases|thermodynamics|electricity|magnetism|
        electromagnetic waves|sound waves|light|optics|calculus|linear algebra|probability|statistics|prime numbers|
        trigonometry|geometry|algorithms|data structures|object-oriented programming|functional programming|recursion|
        operating systems|compilers|databases|computer networks|HTTP|APIs|microservices|version control|agile development|
        marketing|SEO|advertising|branding|leadership|project management|supply and demand|accounting|human resources|
        education|homework|online learning|university|scholarships|MBA programs|engineering|medicine|law|architecture|
        journalism|music theory|jazz|hip hop|classical music|photography|film making|acting|literature|poetry|Shakespeare|
        football|cricket|basketball|tennis|chess|the Olympics|video games|board games|anime|Harry Potter|Star Wars|
        Game of Thrones|love|marriage|divorce|friendship|parenting|religion|death|happiness|success|time travel|aliens|
        space exploration|Mars|the moon|the sun|volcanoes|earthquakes|hurricanes|the ocean|rain forests|endangered species""",
    "someone": """Albert Einstein|Isaac Newton|Marie Curie|Charles Darwin|Nikola Tesla|Leonardo da Vinci|Mozart|Beethoven|
        Shakespeare|Plato|Aristotle|Napoleon|Julius Caesar|Alexander the Great|Abraham Lincoln|George Washington|Gandhi|
        Nelson Mandela|Martin Luther King|Winston Churchill|Hitler|Stalin|Queen Elizabeth|Donald Trump|Hillary Clinton|
        Barack Obama|Narendra Modi|Vladimir Putin|Angela Merkel|Bill Gates|Steve Jobs|Elon Musk|Jeff Bezos|Mark Zuckerberg|
        Warren Buffett|Cristiano Ronaldo|Lionel Messi|Michael Jordan|Roger Federer|Muhammad Ali|Taylor Swift|Michael Jackson|
        Batman|Superman|Harry Potter|Sherlock Holmes|Jesus|Buddha|Muhammad""",
    "product": """laptop|phone|smartphone|camera|headphones|tablet|printer|monitor|television|smartwatch|router|bike|car|motorcycle|
        mattress|refrigerator|washing machine|vacuum cleaner|air conditioner|microwave|coffee machine|backpack|running shoes|
        watch|guitar|book|novel|movie|TV series|song|podcast|app|website|browser|antivirus|programming language|framework|
        database|hosting provider|bank|credit card|insurance company|airline|hotel|restaurant|gym|school|college|university|
        course|hospital|dentist|lawyer|business|career|language|sport|diet|exercise|medicine|shampoo|perfume|gift|game|pet""",
    "number": "2|3|4|5|6|7|8|10|12|15|18|20|25|30|40|50|100|200|500|1000|10,000|1 million|2.5|3.14|0.5".replace("\n", ""),
    "year": "|".join(map(str, range(1990, 2028))),
    "unit": """kilometres|miles|metres|feet|inches|centimetres|kilograms|pounds|grams|ounces|litres|gallons|hours|minutes|seconds|
        days|weeks|months|years|dollars|euros|rupees|pounds sterling|yen|degrees Celsius|degrees Fahrenheit|megabytes|gigabytes|
        watts|volts|calories|square feet|acres|hectares|knots|joules""",
    "language": """English|French|Spanish|German|Italian|Portuguese|Chinese|Japanese|Korean|Hindi|Arabic|Russian|Turkish|Dutch|
        Swedish|Polish|Greek|Hebrew|Latin|Bengali|Tamil|Urdu|Vietnamese|Thai""",
    "writing": """email|poem|story|essay|haiku|blog post|cover letter|speech|product description|tweet|song|joke|summary|outline|
        press release|report|letter of complaint|resignation letter|thank-you note|birthday message|recommendation letter|
        business plan|lesson plan|short script|function|regular expression|SQL query|shell script|unit test|dialogue|review""",
    "who": """a beginner|a child|a five-year-old|my boss|my teacher|my friends|a customer|students|a non-native speaker|an expert|
        my mother|my girlfriend|my landlord|a colleague|teenagers|an old man|a small company|developers""",
    "error": """permission denied|connection refused|segmentation fault|out of memory|file not found|access denied|timeout|
        null pointer exception|syntax error|invalid token|404|500 internal server error|certificate expired|disk full|
        module not found|undefined is not a function|index out of range|stack overflow|deadlock|key error|no such host""",
}
LISTS = {name: [w.strip() for w in text.replace("\n", " ").split("|")] for name, text in LISTS.items()}
LISTS["number"] = [w.strip() for w in LISTS["number"]]

REQUESTS = """How do I {doing}?|How can I {doing}?|What is the best way to {doing}?|How to {doing}?|What are some tips to {doing}?
How long does it take to {doing}?|Is it possible to {doing} in {number} days?|Is it hard to {doing}?|Why is it so hard to {doing}?
What should I do to {doing}?|Should I {doing} or {doing2}?|Can I {doing} at the age of {number}?|Can you {doing} without help?
I want to {doing}. Where do I start?|What is the easiest way to {doing}?|How much does it cost to {doing}?|How did you {doing}?
What's the fastest way to {doing} at home?|What do I need to know before I {doing}?|Is it worth it to {doing}?|Why should I not {doing}?
I don't want to {doing}. What else can I do?|What happens if I {doing}?|What is it like to {doing}?|Who can help me {doing}?
Which app helps you to {doing}?|Where can I learn to {doing}?|When is the best time to {doing}?|How can a student {doing}?
How do I {task} in {tech}?|How can I {task} with {tech}?|What is the command to {task} in {tech}?|Show me how to {task} using {tech}.
Is there a way to {task} on {tech}?|Why can't I {task} in {tech}?|How do I {task} without {tech}?|Write code to {task} in {tech}.
Can you {task} in {tech}?|What's the difference between {tech} and {tech2}?|Should I learn {tech} or {tech2} first?|Is {tech} better than {tech2}?
What is {tech} used for?|How do I install {tech}?|How do I uninstall {tech}?|How do I learn {tech}?|What are the advantages of {tech} over {tech2}?
I get the error "{error}" in {tech}. How do I fix it?|What does "{error}" mean?|Why does {tech} say {error}?|How do I fix {error} on {tech}?
What are good alternatives to {tech}?|Which version of {tech} should I use?|How do I move from {tech} to {tech2}?|Is {tech} free?|Who invented {tech}?
What is {topic}?|What are {topic}?|How does {topic} work?|Explain {topic}.|Explain {topic} in simple terms.|Explain {topic} to {who}.
What is the difference between {topic} and {topic2}?|Why is {topic} important?|What are the pros and cons of {topic}?
What are the advantages of {topic}?|What are the disadvantages of {topic}?|What are the causes of {topic}?|What are the effects of {topic} on {topic2}?
What is the best book about {topic}?|How do I learn about {topic}?|What do you think about {topic}?|Is {topic} good or bad?
What is the history of {topic}?|Who discovered {topic}?|When did {topic} begin?|Can you summarize {topic}?|Give me {number} facts about {topic}.
Does {topic} affect {topic2}?|Is {topic} real?|What would happen without {topic}?|What is the future of {topic}?|How is {topic} related to {topic2}?
What are some common myths about {topic}?|Why do people believe in {topic}?|Why do some people hate {topic}?|Why don't we talk about {topic}?
Where can I study {topic}?|What jobs can I get with {topic}?|How important is {topic} for {topic2}?|List the main types of {topic}.
Who is {someone}?|Who was {someone}?|What is {someone} famous for?|When was {someone} born?|How did {someone} die?|What did {someone} think about {topic}?
Why is {someone} so popular?|Why do people hate {someone}?|Did {someone} believe in {topic}?|Who is greater, {someone} or {someone2}?
What if {someone} had never lived?|What can we learn from {someone}?|How rich is {someone}?|What is the best quote of {someone}?|Was {someone} married?
What is the best {product} in {year}?|Which {product} should I buy?|What is the best {product} under {number} dollars?|Which is the cheapest {product}?
What is the worst {product} you ever had?|How do I choose a {product}?|Which {product} is better for {who}?|What are the top {number} {product+}?
Can you recommend a {product}?|How much does a good {product} cost?|Where can I buy a used {product}?|How long does a {product} last?
What is your favorite {product} and why?|Is it better to rent or to buy a {product}?|How do I sell my {product}?|How do I fix my {product}?
Convert {number} {unit} to {unit2}.|How many {unit} are {number} {unit2}?|How many {unit} are there in a {unit2}?|What is {number} percent of {number2}?
What is {number} plus {number2}?|What is {number} times {number2}?|How much is {number} {unit} in {unit2}?|Is {number} {unit} a lot?|What happened in {year}?
Who won the world cup in {year}?|Who was the president in {year}?|What was the most popular {product} of {year}?|How do you say "thank you" in {language}?
Translate this sentence into {language}.|Translate from {language} to {language2}: good morning.|What is the {language} word for love?
How hard is {language} compared to {language2}?|Is {language} spoken by many people?|What does this mean in {language}?
Write a {writing} about {topic}.|Write a short {writing} for {who}.|Write a {writing} to {who} about {topic}.|Give me an example of a {writing}.
Improve this {writing}.|Make this {writing} more formal.|Make this {writing} less formal.|Proofread my {writing} about {topic}.
Summarize this {writing} in {number} sentences.|How do I write a good {writing}?|How long should a {writing} be?|Suggest a title for a {writing} about {topic}.
My doctor says that I have {topic}. What should I do?|I am {number} years old and want to {doing}. Is it too late?|My {product} doesn't work any more. What can I do?
I have {number} {unit} left. Can I still {doing}?|My friend wants to {doing}, but I don't. What should I say?|What are the rules about {topic}?
Do you {doing}?|Did you ever {doing}?|Have you ever tried to {doing}?|When did you {doing}?|Would you rather {doing} or {doing2}?|Let's talk about {topic}.
Give me ideas for {topic}.|Make a plan to {doing} in {number} weeks.|What are the steps to {doing}?|List {number} ways to {doing}.|Tell me a joke about {topic}.
What questions are asked in an interview about {topic}?|What are the requirements to {doing}?|Is it legal to {doing}?|Is it illegal to {doing} in public?
Is it safe to {doing} while pregnant?|Is it dangerous to {doing}?|Can I {doing} after surgery?|How often should I {doing}?|How many times a day should I {doing}?
How do I stop people who {doing}?|What's a good excuse not to {doing}?|What did you learn when you tried to {doing}?|How do I make money with {topic}?"""
REQUESTS = [form.strip() for line in REQUESTS.split("\n") for form in line.split("|")]

ASKED = {
    "food": "How do you cook {food}?|Is {food} healthy?|How many calories are in {food}?|What can I make with {food} and {food2}?|Can dogs eat {food}?|Can I eat {food} during pregnancy?|What goes well with {food}?|How long does {food} keep in the fridge?|What is the difference between {food} and {food2}?|Give me a recipe for {food}.|Where does {food} come from?|Is {food} better than {food2} for losing weight?|What can I use instead of {food}?|How do I store {food}?",
    "animal": "What do {animal+} eat?|How long does {a animal} live?|Is {a animal} dangerous to humans?|What is the difference between {a animal} and {a animal2}?|Where do {animal+} live?|Can you keep {a animal} as a pet?|Who would win, {a animal} or {a animal2}?|How fast is {a animal}?|Why do {animal+} sleep so much?|Are {animal+} endangered?|How do {animal+} reproduce?|How big is {a animal}?",
    "plant": "How do I grow {plant}?|Is {plant} poisonous?|When does {plant} bloom?|How often should I water {plant}?|What is {plant} used for?|Can {plant} grow indoors?|How do I get rid of {plant}?|What are the health benefits of {plant}?|What does {plant} look like?",
    "thing": "What is {a thing}?|How does {a thing} work?|Where can I buy {a thing}?|How much does {a thing} cost?|Who invented the {thing}?|How do I clean {a thing}?|How do I repair {a thing}?|What is {a thing} used for?|What is the difference between {a thing} and {a thing2}?|How do I make {a thing} at home?|Which {thing} is the best?|What is {a thing} made of?|Can I use {a thing} instead of {a thing2}?|How do I choose {a thing} for my {thing2}?|My {thing} is broken. What should I do?|Should I buy {a thing} or {a thing2}?",
    "body": "Why does my {body} hurt?|How can I strengthen my {body}?|What does the {body} do?|What causes pain in the {body}?|Is it normal to have a swollen {body}?|How do I get rid of spots on my {body}?|Where is the {body}?|How does the {body} work?",
    "state": "What is {state}?|What causes {state}?|What are the symptoms of {state}?|How is {state} treated?|Is {state} dangerous?|Can {state} be cured?|How do I cope with {state}?|How do I avoid {state}?|What is the difference between {state} and {state2}?|Can {state} lead to {state2}?|How common is {state}?|Which doctor should I see for {state}?",
    "person": "How do I become {a person}?|What does {a person} do?|How much does {a person} earn?|What is it like to be {a person}?|What is the difference between {a person} and {a person2}?|What skills does {a person} need?|How do I find a good {person}?|Why did the {person} leave the {person2}?|Can {a person} be {a person2}?|How should I talk to {a person}?|Who was the first {person}?|Is it hard to be {a person}?|Do I need {a person} for that?",
    "act": "What is {act}?|How do I get better at {act}?|Is {act} legal?|Why do people like {act}?|What are the rules of {act}?|What are the benefits of {act}?|Is {act} bad for you?|How do I start with {act}?|What is the purpose of {act}?|Is {act} the same as {act2}?|What are the risks of {act}?|How can I stop {act}?|What equipment do I need for {act}?",
    "idea": "What is {idea}?|Explain {idea} with an example.|What is the meaning of {idea}?|Who came up with {idea}?|Why is {idea} important?|How is {idea} different from {idea2}?|How is {idea} used in {idea2}?|What are the limits of {idea}?|How can I understand {idea}?",
    "speech": "What is {a speech}?|How do I write {a speech}?|What is the difference between {a speech} and {a speech2}?|What is an example of {a speech}?|Where can I find {a speech}?|How should I answer {a speech}?|What makes a good {speech}?",
    "feeling": "How do I deal with {feeling}?|Why do I feel {feeling}?|What is the difference between {feeling} and {feeling2}?|What causes {feeling}?|Is {feeling} normal?|Can {feeling} be a good thing?|How do I show {feeling}?|How can I overcome {feeling}?",
    "event": "What happened after the {event}?|When was the {event}?|What causes {a event}?|How do I prepare for {a event}?|What is {a event}?|How long does {a event} last?|How many people died in the {event}?|Who won the {event}?",
    "substance": "What is {substance} made of?|Is {substance} toxic?|What is {substance} used for?|What is the boiling point of {substance}?|Is {substance} heavier than {substance2}?|How is {substance} produced?|Does {substance} dissolve in {substance2}?|How do I remove {substance}?|Is {substance} flammable?|What is the chemical formula of {substance}?|What is the price of {substance}?",
    "group": "What is the {group}?|How does the {group} work?|How do I join the {group}?|Who is the leader of the {group}?|What is the difference between the {group} and the {group2}?|How big is the {group}?|What are the members of {a group} called?|What does the {group} believe?",
    "quality": "How do I measure {quality}?|What is {quality}?|How can I improve my {quality}?|Does {quality} matter?|What is the opposite of {quality}?|Why is {quality} important in {act}?|What affects the {quality} of {a thing}?|How do I increase the {quality} of {a thing}?|How do I reduce the {quality} of {a thing}?",
    "property": "What is {property}?|How is {property} calculated?|How do I pay {property}?|Do I have to pay tax on {property}?|What is the difference between {property} and {property2}?|Who is entitled to {property}?|How can I get {property}?",
    "process": "How does {process} work?|What is {process}?|What are the stages of {process}?|What is the difference between {process} and {process2}?|Why does {process} happen?|How long does {process} take?|What triggers {process}?",
    "phenomenon": "What is {phenomenon}?|What causes {phenomenon}?|Can {phenomenon} be predicted?|Where does {phenomenon} occur?|How is {phenomenon} measured?|Is {phenomenon} dangerous?",
    "verb": "How do I {verb} {a thing}?|Why do people {verb} {animal+}?|Can I {verb} my {thing}?|Should I {verb} the {person}?|What does it mean to {verb} {a person}?|What happens if you {verb} {a thing}?|How do you {verb} without {substance}?|Did the {person} {verb} the {thing}?|Who can {verb} {a thing}?|How do I {verb} in {act}?|What is the best way to {verb} {food}?|When should I {verb} {a thing}?|I want to {verb} my {person}. Is that possible?|How can I {verb} more often?|Why can't I {verb} {idea}?|How do I not {verb} {a person}?|Is it ok to {verb} {a person} in {act}?",
    "adj": "Why is my {thing} so {adj}?|What makes {a person} {adj}?|How can I be more {adj}?|Is it {adj} to {verb} {a thing}?|What is the most {adj} {animal}?|Which {food} is {adj}?|What is {a adj} {thing}?|How do I find {a adj} {person}?|Are {animal+} {adj}?|Why are some {person+} {adj} and others {adj2}?|Is {state} {adj} or {adj2}?|Which is the most {adj} {thing} in the world?|I feel {adj} after {act}. Why?|How do I make my {thing} less {adj}?",
    "mixed": "What is the relation between {idea} and {state}?|Does {food} cause {state}?|Does {act} help against {state}?|Can {substance} damage {a thing}?|How does {state} affect the {body}?|Which {person} should I ask about {state}?|Is {food} good for the {body}?|Can {a animal} get {state}?|How do I {verb} {a thing} in {tech}?|What {thing} do I need for {act}?|Which {thing} is best for {a person}?|How much {substance} is in {food}?|What is {a person}'s opinion on {act}?|How can {a person} {verb} {a thing} in {number} {unit}?|Write a {writing} about {a animal} and {a person}.|Write a {writing} about {act}.|What did {someone} say about {idea}?|Is there {a thing} that can {verb} {substance}?|What is {other} called in {language}?|What is {other}?|Where does the name {other} come from?|Tell me something about {other}.|Who or what was {other}?",
}  # fmt: skip
ASKED = {kind: forms.split("|") for kind, forms in ASKED.items()}

PLACES = """What is the capital of {country}?|What is the population of {country}?|What language is spoken in {country}?|Is {country} safe for tourists?
Do I need a visa for {country}?|What is the currency of {country}?|What is {country} known for?|What is the best time to visit {country}?|How do I move to {country}?
What is the difference between {country} and {country2}?|Which is better to live in, {country} or {country2}?|How far is {city} from {city2}?|How do I get from {city} to {city2}?
What is the best {product} in {city}?|Where can I find a cheap {product} in {city}?|What are the best places to visit in {city}?|How is the weather in {city}?|What is it like to live in {city}?
Is {city} a good place to {doing}?|What is the cost of living in {city}?|What time is it in {city}?|Which country is {city} in?|What is {city} famous for?|Where can I {doing} in {city}?
How much does it cost to {doing} in {country}?|Is it legal to {doing} in {state}?|What is the capital of {state}?|How do I {doing} in {country}?|Who is the president of {country}?
What is the minimum wage in {state}?|Why is {country} so poor?|Why is {country} so rich?|What do people in {country} think about {country2}?|What do people in {country} think about {someone}?
Will there be a war between {country} and {country2}?|Who won the match between {country} and {country2}?|How can I get a job in {country}?|How can I study in {country} for free?
What is the tax rate in {state}?|Which city is bigger, {city} or {city2}?|What are some traditional dishes of {country}?|How long is the flight from {city} to {city2}?|How many people live in {city}?
What are the best universities in {country}?|What happened in {country} in {year}?|Has {someone} ever been to {country}?|What are the rules about {topic} in {country}?|Is {city} safe at night?
Write a {writing} about {city}.|Plan a trip of {number} days to {city}.|What should I pack for {number} days in {country}?|Translate "where is the station in {city}" into {language}."""
PLACES = [form.strip() for line in PLACES.split("\n") for form in line.split("|")]

MEANINGS = {
    "noun": ["What is {word}?", "What does {word} mean?", "What is the word for {meaning}?", "What do you call {meaning}?", "{word}: {meaning}", "Is {word} {meaning}?", "Define {word}.", "Which word means {meaning}?"],
    "verb": ["What does it mean to {word}?", "How do I {word}?", "Which verb means to {meaning}?", "to {word}: {meaning}", "How can I {meaning}?", "Why do people {meaning}?"],
    "adj": ["What does {word} mean?", "What is a word for {meaning}?", "{word}: {meaning}", "When is something {word}?"],
    "adv": ["What does {word} mean?", "{word}: {meaning}", "How do I use {word} in a sentence?"],
}  # fmt: skip
