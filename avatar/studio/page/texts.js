// All words of the page, English and German. {name} stands for a value; a list is [one, several] by {n}.

const en = {
  skip: "Skip to the content", navigation: "Pages", language: "Language", people: "People", queue: "Queue", verify: "Verify",
  jobs: ["{n} job", "{n} jobs"], cancel: "Keep it", back: "Back", "try-again": "Try again", delete: "Delete", download: "Download",
  "not-here": "This page cannot be shown", "to-people": "To your people",
  seconds: "{n} s", minutes: "{n} min", hours: "{n} h", left: "about {time} left", waiting: "waiting", "needs-you": "needs your attention",
  "token-title": "This studio asks for its token", "token-hint": "It stands in the window where the studio was started.", "token-enter": "Enter",

  "welcome-title": "A minute of you becomes a film of anything you say.",
  "welcome-lead": "Film yourself reading a few lines. A few minutes later an avatar of you speaks whatever you record.",
  "welcome-start": "Make your first avatar",
  promises: { here: "Stays on this computer: no account, nothing is uploaded to anybody", quick: "Says what is wrong with a clip before you wait for it", honest: "Films are marked as generated, and keep who agreed to them" },
  steps: { film: "Film or choose a clip", "film-hint": "A camera of a laptop will do. Half a minute is enough, a minute is better.", look: "See what is good about it", "look-hint": "In under half a minute you know whether to film again.", build: "Wait a few minutes", "build-hint": "Watch the picture come closer to the truth, or close the page.", speak: "Speak", "speak-hint": "Record a sentence, choose a background, make the film." },
  "new-avatar": "New avatar", "new-avatar-hint": "film, or choose a clip", "no-avatar-yet": "no avatar yet",
  "films-count": ["{n} film", "{n} films"], "on-disk": "Everything is kept in {folder}, as plain files. {free} are free there.",

  "clip-lead": "One person who speaks, looks at the camera and holds still: that is all.",
  "film-yourself": "Film yourself", "film-hint": "with this computer's camera, and a text to read", "choose-clip": "Choose a clip or photo", "choose-hint": "any video of 3 s to an hour; of a photo, a simpler avatar",
  "drop-hint": "or drop a file here", "no-camera-here": "Just curious?", "try-actor": "Try it with a synthetic person", "actor-name": "Synthetic person", "filming-actor": "Filming a synthetic person",
  unfinished: "A recording was cut short. {size} of it are safe.", "use-it": "Use what was filmed", discard: "Throw it away",
  sending: "Reading {name}", "other-clip": "Another clip", looking: "Looking at the first seconds", "looking-hint": "This takes about a third of a minute. You can fill in the rest meanwhile.",
  grades: { good: "Good", fair: "Usable, could be better", poor: "Not usable as it is" },
  "clip-facts": "{length} min, {width} × {height}, {fps} pictures a second.", "photo-facts": "A photo of {width} × {height}.", "looked-at": "The first {n} s were looked at; the build looks at all of it.",
  "left-out": "Left out of training", "build-anyway": "Build all the same", "unusable-title": "This clip cannot be used",
  "who-is-it": "Who is it?", name: "Name", "who-agreed": "Who agreed?",
  who: { self: "It is me", "self-hint": "and I want an avatar of myself", other: "Somebody who agreed", "other-hint": "and can take it back at any time", nobody: "Nobody", "nobody-hint": "a drawn or synthetic person" },
  "attested-by": "Your name, who vouches for it", contact: "Where they can take it back (an address)", "agreed-on": "When they agreed (today, if empty)", limits: "Limits of the consent", uses: "Only for, separated by commas", "uses-example": "training films, newsletters", expires: "Until",
  quality: "How long may it take?", qualities: { preview: "½ min", "preview-hint": "from one frame", quick: "2 min", "quick-hint": "a first look", good: "As it needs", "good-hint": "usually 4 to 6 min", best: "15 min", "best-hint": "as good as it gets" },
  build: "Build the avatar", "wait-check": "The clip is being looked at.", "not-usable": "Use another clip, or choose to build all the same.", "needs-name": "A name is missing.", "needs-who": "Say who agreed.", "needs-consent": "Say who vouches, and where consent can be taken back.",
  confirm: { self: "By building you state that it is you.", other: "By building you state that this person agreed.", nobody: "By building you state that this person does not exist." },

  "camera-picture": "Your camera", record: "Record", stop: "Done", "stop-early": "Keep reading …", "stop-soon": "Done, or a little more",
  "camera-refused": "The browser may not use the camera", "camera-refused-hint": "Allow camera and microphone for this page (the sign beside the address), then try again. Or choose a clip that you have.",
  "camera-missing": "There is no camera, or no microphone", "camera-missing-hint": "Plug both in, then try again. Or film with a phone and choose that clip here.",
  "camera-in-use": "Another program uses the camera", "camera-in-use-hint": "Close it, then try again.",
  "script-title": "Read this aloud", "script-hint": "Calmly, looking into the camera as often as you can. Pause between the lines. What you say matters less than that you speak.",
  script: "Hello, my name is not important. What matters is that my mouth takes every shape it can.\nFive brown foxes jumped over the frozen pond, while a very quiet mouse watched them through the window.\nMy mother baked purple plum pies for Bob, who prefers vanilla and warm milk.\nWe usually choose the shorter way: through the garden, along the church, then over the bridge.\nWho would have thought that such good news could arrive so soon?\nShe said: «Leave the yellow umbrella here, it will surely rain the whole week.»\nOh, how wonderful! That was all. Now I close my mouth, smile, and look at the camera for a moment.",
  hints: { good: "Good: stay like this", "no-face": "No face in the picture", "two-faces": "Two faces: stay alone", "too-far": "Come closer", "too-near": "A little further away", "off-centre": "Move to the middle", "too-dark": "Too dark: turn on a light before you", "too-bright": "Too bright: less light", turned: "Look into the camera", "camera-moves": "The camera moves: put it down", "no-sound": "Nothing can be heard: check the microphone" },

  "not-built": "There is no avatar yet", "not-built-hint": "The clip is here. How long may the build take?", "no-clip-hint": "There is no clip of this person either.", "build-as": { quick: "Build in 2 min", good: "Build as good as it needs", best: "Build for 15 min" },
  building: "Building", "build-failed": "The build has stopped", built: "{name} can speak", "may-close": "You can close this page: the build goes on as long as the studio runs, and after a restart where it was.",
  stages: { start: "Starting", track: "Looking at every frame", fit: "Following the face", train: "Learning the picture", speak: "Drawing", render: "Drawing", evaluate: "Comparing", dub: "Replacing the mouth", voice: "Speaking the text", say: "Drawing", present: "Drawing the slides", measure: "Measuring", "speech model": "Learning to speak" },
  "picture-soon": "Soon truth and prediction stand here, side by side.", truth: "Truth", prediction: "Prediction", "truth-alt": "Left a frame of the clip, right the same drawn by the avatar so far",
  "cancel-job": "Cancel", "cancel-question": "Cancel this job?", "cancel-detail": "What it has done so far is lost.", "show-log": "Log", "no-log": "There is no log.", dismiss: "Remove from the queue", "waiting-turn": "Waits for its turn.",
  kinds: { build: "Avatar {name}", preprocess: "Clip {name}", speak: "Film {name}", say: "Film {name}", dub: "Dubbed film {name}", present: "Film of slides {name}", evaluate: "Figures", render: "Film {name}", motion: "Motion {name}" },
  "queue-empty": "Nothing to do.", elsewhere: "`avatar batch` works on this queue just now, from a terminal.", batch: "{name}, started in a terminal", states: { waiting: "waiting", running: "running", done: "done", failed: "failed", quarantined: "crashed", blocked: "blocked", cancelled: "cancelled" },

  tabs: { speak: "Speak", slides: "Slides", talk: "Talk", measure: "Evaluate", about: "About" },
  "talk-title": "Talk with {name}", "talk-lead": "The avatar answers live, with a microphone or a sound file as its voice, a quarter of a second later. It runs on this computer as long as the studio does.", "talk-start": "Start", "talk-starting": "Opening the avatar", "talk-open": "In a window of its own",
  "a-text": "A text", "text-label": "What should be said?", "text-example": "Hello! I was a minute of video.", voice: "Voice", captions: "Captions", "caption-kinds": { none: "no captions", srt: "captions beside the film", vtt: "captions to switch on", burn: "captions in the picture" },
  emotion: "Emotion", emotions: { own: "as they are", happy: "happy", sad: "sad", angry: "angry", fear: "afraid", surprised: "surprised", disgusted: "disgusted", contempt: "contemptuous" },
  says: "What is said", sample: "Sample sentence", "record-voice": "Record", "stop-voice": "Stop recording", "choose-sound": "Choose a file", "voice-name": "recording", "no-microphone": "There is no microphone; plug one in, or choose a file.", "microphone-refused": "The browser may not use the microphone; allow it (the sign beside the address), or choose a file.",
  background: "Background", backgrounds: { brand: "plain", own: "As filmed", blur: "Blurred", colour: "Colour", file: "Picture", transparent: "Clear", full: "Whole frame", footage: "Footage" }, "own-colour": "A colour of your own", "choose-picture": "Choose picture or video", "full-hint": "The avatar in the whole picture that was filmed.", "footage-hint": "The clip itself, with another mouth: body and hands are as filmed. There is no preview of it.", "transparent-hint": "A film with a clear background, as .webm for editing.",
  size: "Size", sizes: { small: "Small", usual: "As filmed", large: "Large" },
  motion: "Motion", sliders: { mouth_gain: "Mouth", expression_gain: "Expression", blink: "Blinking", head: "Head", gaze: "Gaze", temperature: "Liveliness" }, "as-they-are": "as they are", reset: "All as they are",
  use: "What the film is for", preview: "Preview of the avatar", play: "Play with sound", pause: "Pause", "make-film": "Make the film", "film-queued": "The film is being made", films: "Films", "no-films": "Films appear here, to watch, download and make again.", "make-again": "Again", "again-said": "The film's settings are set again", command: "As a command", "delete-file": "Delete {name}?", "delete-file-detail": "The file is removed from the disk. This cannot be undone.", "avatar-unusable": "This avatar cannot be opened",
  measure: "Compare with the clip", "measure-again": "Compare again", measuring: "Comparing with the clip", "measure-lead": "How close the avatar is to frames of the clip that it was not trained on: figures, pictures, and where it errs.",
  consent: "Consent", "no-consent": "None is stated.", "consent-fields": { kind: "Kind", subject: "Who is shown", attested_by: "Who vouches", date: "Since", uses: "Only for", expires: "Until", revocation_contact: "To take it back" }, "consent-kinds": { consent: "of somebody else", self: "of oneself", synthetic: "a person who does not exist" },
  avatars: "Avatars", clip: "Clip", "clip-report": "What was found in the clip", "delete-person": "Delete {name}", "delete-person-detail": "Clip, avatars, films, frames, logs and consent: {size} in {folder}. This cannot be undone.", "delete-everything": "Delete everything", deleted: "{name} is deleted",

  deck: "Deck", "slides-title": "Slides and their notes become a film", "slides-lead": "A PowerPoint with speaker notes, a PDF with a script (both as .zip, or chosen together), a script in Markdown with its pictures, or a folder of pictures 01.png, 02.png with texts or sounds of the same numbers.",
  "choose-deck": "Choose a deck", "choose-folder": "Choose a folder", "new-version": "New version", "reading-deck": "Looking at its slides", "needs-present": "Decks of PowerPoint and PDFs need more packages: pip install 'avatar-builder[present]', then start the studio again.",
  "deck-slides": ["{n} slide", "{n} slides"], "deck-length": "about {time} of speech", "drawn-by": "drawn by {name}", "slide-problem": "Slide {n}: {text}", recorded: "With recorded speech", "film-inside": "With a film", "nothing-said": "Nothing is said here", "delete-deck-detail": "Its films stay.",
  layout: "Person", layouts: { corner: "In a corner", side: "Beside the slide", full: "Alone", slide: "Voice only" }, aspect: "Shape", aspects: { "16:9": "Wide", "9:16": "Upright", "1:1": "Square" }, lines: { small: "720 lines", usual: "1080 lines", large: "4K" }, draft: "Draft: a quarter of the pixels, fast", avatar: "Avatar",
  "read-titles": "Read the titles of slides without notes", "only-slides": "Only these slides (all, if empty)", "mend-slides": "Mend the slides that are marked, and give the new version.", "only-changed": "Made again, only slides that changed are drawn anew.", "needs-voice": "No voice is installed: pip install 'avatar-builder[voices]', then start the studio again; or give recorded speech, 01.wav of slide 1.", chapters: "Chapters",
  light: "Light", lights: { keep: "as filmed", room: "of the room", left: "from the left", right: "from the right", top: "from above", window: "of a window", ring: "of a ring lamp", warm: "warm", cool: "cool" },

  "verify-title": "Where is it from?", "verify-lead": "Films made here carry an invisible mark, and a signed statement where you have keys. Look whether a film has them.", "verify-choose": "Choose a film, picture or sound", "verify-hint": "or drop it here; it is removed again afterwards", verifying: "Looking into {name}", manifest: "Signed statement", manifests: { trusted: "valid, of a signer that is trusted here", valid: "valid, of another signer", invalid: "changed since it was signed", none: "none", "not read": "not read" }, mark: "Invisible mark", "mark-found": "{number}, at {start} s, confidence {confidence}", "mark-none": "none", "made-here": "Made here", generated: "This was generated", "generated-hint": "It carries what only generated films carry.", "nothing-found": "Nothing says that it was generated", "nothing-found-hint": "That is no proof that it is real: other tools leave no mark.",

  errors: { "deck-busy": "A film of this deck is being made; wait for it, or cancel it.", "convert-ppt": "Files of .ppt are not read: open it in PowerPoint or LibreOffice and save it as .pptx.", "convert-pps": "Files of .pps are not read: open it in PowerPoint or LibreOffice and save it as .pptx.", "convert-key": "Files of Keynote are not read: export it to PowerPoint or PDF.", "convert-odp": "Files of .odp are not read: save it as .pptx in LibreOffice, or export it as PDF.", offline: "The studio does not answer. Is it still running?", ending: "Files of this kind cannot be used here. These can: {usual}.", empty: "The file is empty. Choose another.", "too-large": "The file is larger than {most}. Cut it first.", disk: "The disk is full. Make room: what has come so far is kept, and goes on.", gone: "It is not here any more. Reload the page.", used: "This clip was used in another tab. Look at your people.", name: "The name is missing.", "name-long": "The name is too long. Give one of 80 characters at most.", building: "This person is being built already. See the queue.", queued: "This is in the queue already.", token: "This token is not valid.", "no-avatar": "There is no avatar yet. Build one first.", "no-text": "There are no words to say. Write some.", "long-text": "The text is too long for one film. Make several of it.", "no-voice": "This voice is not installed. Record the sentence, or choose a file.", talk: "The live avatar does not start.", "not-whole": "The file has not come as a whole yet. Let the upload end.", busy: "A job of this person could not be stopped. Cancel it in the queue, then delete." },
};

const de = {
  skip: "Zum Inhalt", navigation: "Seiten", language: "Sprache", people: "Personen", queue: "Aufträge", verify: "Prüfen",
  jobs: ["{n} Auftrag", "{n} Aufträge"], cancel: "Behalten", back: "Zurück", "try-again": "Noch einmal", delete: "Löschen", download: "Speichern",
  "not-here": "Diese Seite kann nicht gezeigt werden", "to-people": "Zu den Personen",
  seconds: "{n} s", minutes: "{n} min", hours: "{n} h", left: "noch etwa {time}", waiting: "wartet", "needs-you": "braucht dich",
  "token-title": "Dieses Studio fragt nach seinem Schlüssel", "token-hint": "Er steht in dem Fenster, in dem das Studio gestartet wurde.", "token-enter": "Öffnen",

  "welcome-title": "Eine Minute von dir wird ein Film von allem, was du sagst.",
  "welcome-lead": "Filme dich, während du ein paar Zeilen liest. Wenige Minuten später spricht ein Avatar von dir, was immer du aufnimmst.",
  "welcome-start": "Den ersten Avatar machen",
  promises: { here: "Bleibt auf diesem Rechner: kein Konto, nichts geht an jemanden", quick: "Sagt, was einem Clip fehlt, bevor du darauf wartest", honest: "Filme sind als erzeugt markiert und behalten, wer zugestimmt hat" },
  steps: { film: "Filmen oder Clip wählen", "film-hint": "Die Kamera eines Laptops genügt. Eine halbe Minute reicht, eine ganze ist besser.", look: "Sehen, was er taugt", "look-hint": "Nach weniger als einer halben Minute weißt du, ob du neu filmst.", build: "Ein paar Minuten warten", "build-hint": "Sieh zu, wie das Bild der Wahrheit näher kommt, oder schließe die Seite.", speak: "Sprechen", "speak-hint": "Einen Satz aufnehmen, einen Hintergrund wählen, den Film machen." },
  "new-avatar": "Neuer Avatar", "new-avatar-hint": "filmen oder Clip wählen", "no-avatar-yet": "noch kein Avatar",
  "films-count": ["{n} Film", "{n} Filme"], "on-disk": "Alles liegt in {folder}, als einfache Dateien. Dort sind {free} frei.",

  "clip-lead": "Eine Person, die spricht, in die Kamera sieht und ruhig bleibt: mehr braucht es nicht.",
  "film-yourself": "Dich filmen", "film-hint": "mit der Kamera dieses Rechners und einem Text zum Lesen", "choose-clip": "Clip oder Foto wählen", "choose-hint": "jedes Video von 3 s bis zu einer Stunde; aus einem Foto ein einfacherer Avatar",
  "drop-hint": "oder eine Datei hierher ziehen", "no-camera-here": "Nur neugierig?", "try-actor": "Mit einer künstlichen Person versuchen", "actor-name": "Künstliche Person", "filming-actor": "Eine künstliche Person wird gefilmt",
  unfinished: "Eine Aufnahme wurde unterbrochen. {size} davon sind sicher.", "use-it": "Das Gefilmte verwenden", discard: "Wegwerfen",
  sending: "{name} wird gelesen", "other-clip": "Ein anderer Clip", looking: "Die ersten Sekunden werden angesehen", "looking-hint": "Das dauert etwa eine Drittelminute. Den Rest kannst du inzwischen ausfüllen.",
  grades: { good: "Gut", fair: "Brauchbar, könnte besser sein", poor: "So nicht brauchbar" },
  "clip-facts": "{length} min, {width} × {height}, {fps} Bilder je Sekunde.", "photo-facts": "Ein Foto von {width} × {height}.", "looked-at": "Angesehen wurden die ersten {n} s; der Bau sieht alles an.",
  "left-out": "Nicht gelernt wird", "build-anyway": "Trotzdem bauen", "unusable-title": "Dieser Clip ist nicht zu gebrauchen",
  "who-is-it": "Wer ist es?", name: "Name", "who-agreed": "Wer hat zugestimmt?",
  who: { self: "Ich bin es", "self-hint": "und will einen Avatar von mir", other: "Jemand, der zugestimmt hat", "other-hint": "und das jederzeit zurücknehmen kann", nobody: "Niemand", "nobody-hint": "eine gezeichnete oder künstliche Person" },
  "attested-by": "Dein Name, der dafür einsteht", contact: "Wo sie es zurücknehmen kann (eine Adresse)", "agreed-on": "Wann sie zugestimmt hat (heute, wenn leer)", limits: "Grenzen der Zustimmung", uses: "Nur für, durch Kommas getrennt", "uses-example": "Schulungsfilme, Rundbriefe", expires: "Bis",
  quality: "Wie lange darf es dauern?", qualities: { preview: "½ min", "preview-hint": "aus einem Bild", quick: "2 min", "quick-hint": "ein erster Blick", good: "Wie nötig", "good-hint": "meist 4 bis 6 min", best: "15 min", "best-hint": "so gut es geht" },
  build: "Avatar bauen", "wait-check": "Der Clip wird noch angesehen.", "not-usable": "Nimm einen anderen Clip, oder baue trotzdem.", "needs-name": "Der Name fehlt.", "needs-who": "Gib an, wer zugestimmt hat.", "needs-consent": "Gib an, wer dafür einsteht und wo die Zustimmung zurückgenommen werden kann.",
  confirm: { self: "Mit dem Bau erklärst du, dass du es bist.", other: "Mit dem Bau erklärst du, dass diese Person zugestimmt hat.", nobody: "Mit dem Bau erklärst du, dass es diese Person nicht gibt." },

  "camera-picture": "Deine Kamera", record: "Aufnehmen", stop: "Fertig", "stop-early": "Weiterlesen …", "stop-soon": "Fertig, oder noch etwas",
  "camera-refused": "Der Browser darf die Kamera nicht benutzen", "camera-refused-hint": "Erlaube Kamera und Mikrofon für diese Seite (das Zeichen neben der Adresse), dann noch einmal. Oder wähle einen Clip, den du hast.",
  "camera-missing": "Es gibt keine Kamera oder kein Mikrofon", "camera-missing-hint": "Schließe beides an, dann noch einmal. Oder filme mit dem Telefon und wähle hier den Clip.",
  "camera-in-use": "Ein anderes Programm benutzt die Kamera", "camera-in-use-hint": "Schließe es, dann noch einmal.",
  "script-title": "Lies das laut", "script-hint": "Ruhig, und sieh so oft du kannst in die Kamera. Mach Pausen zwischen den Zeilen. Was du sagst, ist weniger wichtig, als dass du sprichst.",
  script: "Guten Tag, wie ich heiße, ist nicht wichtig. Wichtig ist, dass mein Mund jede Form annimmt.\nFünf braune Füchse sprangen über den zugefrorenen Teich, während eine sehr leise Maus am Fenster saß.\nMeine Mutter backt Pflaumenkuchen für Paul, der lieber Vanille mag und warme Milch.\nMeistens gehen wir den kürzeren Weg: durch den Garten, an der Kirche entlang und über die Brücke.\nWer hätte gedacht, dass so gute Nachrichten so früh kommen?\nSie sagte: «Lass den gelben Schirm hier, es wird die ganze Woche regnen.»\nOh, wie schön! Das war alles. Jetzt schließe ich den Mund, lächle und sehe einen Moment in die Kamera.",
  hints: { good: "Gut: bleib so", "no-face": "Kein Gesicht im Bild", "two-faces": "Zwei Gesichter: bleib allein", "too-far": "Komm näher", "too-near": "Etwas weiter weg", "off-centre": "Zur Mitte hin", "too-dark": "Zu dunkel: mach vor dir Licht", "too-bright": "Zu hell: weniger Licht", turned: "Sieh in die Kamera", "camera-moves": "Die Kamera bewegt sich: stell sie ab", "no-sound": "Man hört nichts: prüfe das Mikrofon" },

  "not-built": "Es gibt noch keinen Avatar", "not-built-hint": "Der Clip ist da. Wie lange darf der Bau dauern?", "no-clip-hint": "Auch einen Clip dieser Person gibt es nicht.", "build-as": { quick: "In 2 min bauen", good: "So gut wie nötig bauen", best: "15 min lang bauen" },
  building: "Im Bau", "build-failed": "Der Bau ist stehen geblieben", built: "{name} kann sprechen", "may-close": "Du kannst die Seite schließen: der Bau geht weiter, solange das Studio läuft, und nach einem Neustart dort, wo er war.",
  stages: { start: "Beginnt", track: "Jedes Bild wird angesehen", fit: "Dem Gesicht folgen", train: "Das Bild wird gelernt", speak: "Wird gezeichnet", render: "Wird gezeichnet", evaluate: "Wird verglichen", dub: "Der Mund wird ersetzt", voice: "Der Text wird gesprochen", say: "Wird gezeichnet", present: "Die Folien werden gezeichnet", measure: "Wird gemessen", "speech model": "Das Sprechen wird gelernt" },
  "picture-soon": "Hier stehen bald Wahrheit und Vorhersage nebeneinander.", truth: "Wahrheit", prediction: "Vorhersage", "truth-alt": "Links ein Bild des Clips, rechts dasselbe, wie der Avatar es bisher zeichnet",
  "cancel-job": "Abbrechen", "cancel-question": "Diesen Auftrag abbrechen?", "cancel-detail": "Was er bisher getan hat, geht verloren.", "show-log": "Protokoll", "no-log": "Es gibt kein Protokoll.", dismiss: "Aus den Aufträgen nehmen", "waiting-turn": "Wartet, bis er dran ist.",
  kinds: { build: "Avatar {name}", preprocess: "Clip {name}", speak: "Film {name}", say: "Film {name}", dub: "Synchronfassung {name}", present: "Folienfilm {name}", evaluate: "Zahlen", render: "Film {name}", motion: "Bewegung {name}" },
  "queue-empty": "Nichts zu tun.", elsewhere: "An diesen Aufträgen arbeitet gerade `avatar batch` aus einem Terminal.", batch: "{name}, in einem Terminal gestartet", states: { waiting: "wartet", running: "läuft", done: "fertig", failed: "gescheitert", quarantined: "abgestürzt", blocked: "blockiert", cancelled: "abgebrochen" },

  tabs: { speak: "Sprechen", slides: "Folien", talk: "Reden", measure: "Bewerten", about: "Über" },
  "talk-title": "Mit {name} reden", "talk-lead": "Der Avatar antwortet live, mit einem Mikrofon oder einer Tondatei als Stimme, eine Viertelsekunde später. Er läuft auf diesem Rechner, solange das Studio läuft.", "talk-start": "Beginnen", "talk-starting": "Der Avatar wird geöffnet", "talk-open": "In einem eigenen Fenster",
  "a-text": "Ein Text", "text-label": "Was soll gesagt werden?", "text-example": "Hallo! Ich war eine Minute Video.", voice: "Stimme", captions: "Untertitel", "caption-kinds": { none: "ohne Untertitel", srt: "Untertitel neben dem Film", vtt: "Untertitel zum Einschalten", burn: "Untertitel im Bild" },
  emotion: "Gefühl", emotions: { own: "wie die Person", happy: "froh", sad: "traurig", angry: "wütend", fear: "ängstlich", surprised: "überrascht", disgusted: "angeekelt", contempt: "verächtlich" },
  says: "Was gesagt wird", sample: "Beispielsatz", "record-voice": "Aufnehmen", "stop-voice": "Aufnahme beenden", "choose-sound": "Datei wählen", "voice-name": "aufnahme", "no-microphone": "Es gibt kein Mikrofon; schließe eines an, oder wähle eine Datei.", "microphone-refused": "Der Browser darf das Mikrofon nicht benutzen; erlaube es (das Zeichen neben der Adresse), oder wähle eine Datei.",
  background: "Hintergrund", backgrounds: { brand: "schlicht", own: "Wie gefilmt", blur: "Unscharf", colour: "Farbe", file: "Bild", transparent: "Klar", full: "Ganzes Bild", footage: "Clip" }, "own-colour": "Eine eigene Farbe", "choose-picture": "Bild oder Video wählen", "full-hint": "Der Avatar im ganzen Bild, das gefilmt wurde.", "footage-hint": "Der Clip selbst mit anderem Mund: Körper und Hände sind wie gefilmt. Davon gibt es keine Vorschau.", "transparent-hint": "Ein Film mit klarem Hintergrund, als .webm für den Schnitt.",
  size: "Größe", sizes: { small: "Klein", usual: "Wie gefilmt", large: "Groß" },
  motion: "Bewegung", sliders: { mouth_gain: "Mund", expression_gain: "Ausdruck", blink: "Blinzeln", head: "Kopf", gaze: "Blick", temperature: "Lebhaftigkeit" }, "as-they-are": "wie die Person", reset: "Alles wie die Person",
  use: "Wofür der Film ist", preview: "Vorschau des Avatars", play: "Mit Ton abspielen", pause: "Pause", "make-film": "Film machen", "film-queued": "Der Film wird gemacht", films: "Filme", "no-films": "Hier erscheinen Filme, zum Ansehen, Speichern und Wiederholen.", "make-again": "Noch einmal", "again-said": "Die Einstellungen des Films sind wieder da", command: "Als Befehl", "delete-file": "{name} löschen?", "delete-file-detail": "Die Datei wird von der Platte entfernt. Das lässt sich nicht rückgängig machen.", "avatar-unusable": "Dieser Avatar lässt sich nicht öffnen",
  measure: "Mit dem Clip vergleichen", "measure-again": "Neu vergleichen", measuring: "Vergleich mit dem Clip", "measure-lead": "Wie nah der Avatar an Bildern des Clips ist, die er nicht gelernt hat: Zahlen, Bilder, und wo er irrt.",
  consent: "Zustimmung", "no-consent": "Es ist keine angegeben.", "consent-fields": { kind: "Art", subject: "Wer gezeigt wird", attested_by: "Wer dafür einsteht", date: "Seit", uses: "Nur für", expires: "Bis", revocation_contact: "Zum Zurücknehmen" }, "consent-kinds": { consent: "eines anderen", self: "der Person selbst", synthetic: "eine Person, die es nicht gibt" },
  avatars: "Avatare", clip: "Clip", "clip-report": "Was im Clip gefunden wurde", "delete-person": "{name} löschen", "delete-person-detail": "Clip, Avatare, Filme, Bilder, Protokolle und Zustimmung: {size} in {folder}. Das lässt sich nicht rückgängig machen.", "delete-everything": "Alles löschen", deleted: "{name} ist gelöscht",

  deck: "Foliensatz", "slides-title": "Folien und ihre Notizen werden ein Film", "slides-lead": "Ein PowerPoint mit Notizen, ein PDF mit Text (beide als .zip oder zusammen gewählt), ein Text in Markdown mit seinen Bildern, oder ein Ordner mit Bildern 01.png, 02.png und Texten oder Tönen derselben Nummern.",
  "choose-deck": "Foliensatz wählen", "choose-folder": "Ordner wählen", "new-version": "Neue Fassung", "reading-deck": "Die Folien werden angesehen", "needs-present": "PowerPoint und PDF brauchen weitere Pakete: pip install 'avatar-builder[present]', dann das Studio neu starten.",
  "deck-slides": ["{n} Folie", "{n} Folien"], "deck-length": "etwa {time} Rede", "drawn-by": "gezeichnet von {name}", "slide-problem": "Folie {n}: {text}", recorded: "Mit aufgenommener Stimme", "film-inside": "Mit einem Film", "nothing-said": "Hier wird nichts gesagt", "delete-deck-detail": "Seine Filme bleiben.",
  layout: "Person", layouts: { corner: "In einer Ecke", side: "Neben der Folie", full: "Allein", slide: "Nur Stimme" }, aspect: "Form", aspects: { "16:9": "Breit", "9:16": "Hochkant", "1:1": "Quadrat" }, lines: { small: "720 Zeilen", usual: "1080 Zeilen", large: "4K" }, draft: "Entwurf: ein Viertel der Bildpunkte, schnell", avatar: "Avatar",
  "read-titles": "Titel von Folien ohne Notizen vorlesen", "only-slides": "Nur diese Folien (alle, wenn leer)", "mend-slides": "Bringe die markierten Folien in Ordnung und gib die neue Fassung.", "only-changed": "Beim nächsten Mal werden nur geänderte Folien neu gezeichnet.", "needs-voice": "Es ist keine Stimme installiert: pip install 'avatar-builder[voices]', dann das Studio neu starten; oder gib Aufnahmen, 01.wav zu Folie 1.", chapters: "Kapitel",
  light: "Licht", lights: { keep: "wie gefilmt", room: "des Raums", left: "von links", right: "von rechts", top: "von oben", window: "eines Fensters", ring: "einer Ringlampe", warm: "warm", cool: "kühl" },

  "verify-title": "Woher ist es?", "verify-lead": "Filme von hier tragen eine unsichtbare Marke und, wenn du Schlüssel hast, eine signierte Erklärung. Sieh nach, ob ein Film sie hat.", "verify-choose": "Film, Bild oder Ton wählen", "verify-hint": "oder hierher ziehen; die Datei wird danach wieder entfernt", verifying: "{name} wird angesehen", manifest: "Signierte Erklärung", manifests: { trusted: "gültig, von jemandem, dem hier vertraut wird", valid: "gültig, von jemand anderem", invalid: "seit der Signatur verändert", none: "keine", "not read": "nicht gelesen" }, mark: "Unsichtbare Marke", "mark-found": "{number}, bei {start} s, Gewissheit {confidence}", "mark-none": "keine", "made-here": "Hier gemacht", generated: "Das wurde erzeugt", "generated-hint": "Es trägt, was nur erzeugte Filme tragen.", "nothing-found": "Nichts sagt, dass es erzeugt wurde", "nothing-found-hint": "Das ist kein Beweis, dass es echt ist: andere Werkzeuge hinterlassen keine Marke.",

  errors: { "deck-busy": "Ein Film dieses Foliensatzes wird gerade gemacht; warte, oder brich ihn ab.", "convert-ppt": ".ppt wird nicht gelesen: öffne es in PowerPoint oder LibreOffice und speichere es als .pptx.", "convert-pps": ".pps wird nicht gelesen: öffne es in PowerPoint oder LibreOffice und speichere es als .pptx.", "convert-key": "Keynote wird nicht gelesen: exportiere es nach PowerPoint oder PDF.", "convert-odp": ".odp wird nicht gelesen: speichere es in LibreOffice als .pptx, oder exportiere es als PDF.", offline: "Das Studio antwortet nicht. Läuft es noch?", ending: "Solche Dateien sind hier nicht zu gebrauchen. Diese schon: {usual}.", empty: "Die Datei ist leer. Wähle eine andere.", "too-large": "Die Datei ist größer als {most}. Schneide sie erst.", disk: "Die Platte ist voll. Mach Platz: was schon da ist, bleibt, und es geht weiter.", gone: "Das gibt es nicht mehr. Lade die Seite neu.", used: "Dieser Clip wurde in einem anderen Tab verwendet. Sieh bei den Personen nach.", name: "Der Name fehlt.", "name-long": "Der Name ist zu lang. Höchstens 80 Zeichen.", building: "Diese Person wird schon gebaut. Sieh bei den Aufträgen nach.", queued: "Das steht schon bei den Aufträgen.", token: "Dieser Schlüssel gilt nicht.", "no-avatar": "Es gibt noch keinen Avatar. Baue erst einen.", "no-text": "Es gibt nichts zu sagen. Schreib etwas.", "long-text": "Der Text ist zu lang für einen Film. Mach mehrere daraus.", "no-voice": "Diese Stimme ist nicht installiert. Nimm den Satz auf, oder wähle eine Datei.", talk: "Der Live-Avatar startet nicht.", "not-whole": "Die Datei ist noch nicht ganz da. Lass das Hochladen enden.", busy: "Ein Auftrag dieser Person ließ sich nicht anhalten. Brich ihn ab, dann lösche." },
};

// What the verdict on a clip says, as preprocess/checks.py and photo_checks.py word it, and on a deck; English is as it is.
const ADVICE_DE = [
  [/^the mouth is covered in (\S+) of the clip; film it free$/, "der Mund ist in $1 des Clips verdeckt; filme ihn frei"],
  [/^the mouth is covered in (\S+) of the clip; keep it free$/, "der Mund ist in $1 des Clips verdeckt; halte ihn frei"],
  [/^nearly all of the clip was left out.*$/, "fast der ganze Clip ist nicht zu gebrauchen"],
  [/^the clip has no speech.*$/, "im Clip spricht niemand; die Lippen lassen sich daraus nicht lernen"],
  [/^the lips never move.*$/, "die Lippen bewegen sich nie; filme die Person beim Sprechen"],
  [/^the lips do not follow the sound \((\S+) % sure\).*$/, "die Lippen folgen dem Ton nicht (zu $1 % sicher); nimm den Ton, der mit dem Bild aufgenommen wurde"],
  [/^much of the clip was left out.*$/, "viel vom Clip ist nicht zu gebrauchen; filme in einem Stück, mit Blick in die Kamera"],
  [/^only (\S+) s are left to train on.*$/, "nur $1 s bleiben zum Lernen; filme 20 s und mehr"],
  [/^the face has only (\S+) px between the eyes, so that it will be blurred(; film closer)?$/, "das Gesicht hat nur $1 px zwischen den Augen und wird unscharf; filme aus der Nähe"],
  [/^the face is small; film closer$/, "das Gesicht ist klein; filme aus der Nähe"],
  [/^the head turns far.*$/, "der Kopf dreht sich weit; bleib innerhalb von 30 Grad"],
  [/^music or noise lies behind the voice.*$/, "hinter der Stimme ist Musik oder Lärm; nimm die Stimme allein auf"],
  [/^the sound is clipped.*$/, "der Ton ist übersteuert; stelle den Pegel niedriger"],
  [/^captions are burnt into (\S+) of the frames.*$/, "in $1 der Bilder stehen Untertitel; nimm den Clip ohne sie"],
  [/^the background changes all the time.*$/, "der Hintergrund ändert sich ständig; filme vor einem ruhigen, oder zeige einen anderen"],
  [/^the camera (?:moves|shakes) \((\S+) px\).*$/, "die Kamera bewegt sich ($1 px); stelle sie auf ein Stativ, oder zeige einen anderen Hintergrund"],
  [/^.*several faces all the way.*$/, "es sind durchweg mehrere Gesichter zu sehen; das größte wird genommen"],
  [/^the face is turned by (\S+) degrees.*$/, "das Gesicht ist um $1 Grad gedreht; die abgewandte Seite wird erfunden"],
  [/^the mouth is open.*$/, "der Mund ist offen; der geschlossene wird erfunden"],
  [/^the eyes are shut or nearly so.*$/, "die Augen sind fast zu; nimm ein Foto mit offenen"],
  [/^something may cover the mouth.*$/, "vielleicht verdeckt etwas den Mund; es würde sich mit den Lippen bewegen"],
  [/^the eyes are in the dark.*$/, "die Augen liegen im Dunkeln, wie hinter einer Sonnenbrille; dort blinzeln sie nicht"],
  [/^fonts that are not here: (.*)$/, "Schriften, die hier fehlen, und was sie ersetzt: $1"],
  [/^hidden, so left out: slides? (.*)$/, "ausgeblendet und deshalb nicht dabei: $1"],
  [/^(\d+) links to files or the network were not followed$/, "$1 Verweisen auf Dateien oder das Netz wurde nicht gefolgt"],
  [/^no face found$/, "kein Gesicht gefunden"],
  [/^black picture$/, "schwarzes Bild"],
  [/^frozen picture$/, "stehendes Bild"],
  [/^face turned away$/, "Gesicht abgewandt"],
  [/^something covers the face$/, "etwas verdeckt das Gesicht"],
  [/^something covers the mouth$/, "etwas verdeckt den Mund"],
  [/^cut between two framings$/, "Schnitt zwischen zwei Ausschnitten"],
  [/^caption in the picture$/, "Schrift im Bild"],
  [/^another shot after a cut$/, "andere Einstellung nach einem Schnitt"],
  [/^somebody else speaks$/, "jemand anders spricht"],
  [/^the lips do not follow the sound$/, "die Lippen folgen dem Ton nicht"],
];

/** A sentence of the verdict on a clip in the page's language; one that is not known as it is. */
export function advice(text) {
  const found = chosen === "de" && ADVICE_DE.find(([pattern]) => pattern.test(text));
  return found ? text.replace(...found) : text;
}

const TEXTS = { en, de };
export const languages = [["en", "English"], ["de", "Deutsch"]];
let chosen = localStorage.getItem("language") || (navigator.language.startsWith("de") ? "de" : "en");

export const language = () => chosen;

export function setLanguage(code) {
  chosen = code;
  localStorage.setItem("language", code);
  document.documentElement.lang = code;
}

/** The words of a key such as "hints.good", with values put in; empty where there are none. */
export function t(key, values = {}) {
  let found = TEXTS[chosen][key];
  if (found === undefined) {
    const [group, ...rest] = key.split(".");
    found = TEXTS[chosen][group]?.[rest.join(".")];
  }
  if (Array.isArray(found)) found = found[values.n === 1 ? 0 : 1];
  return typeof found === "string" ? found.replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "") : "";
}
