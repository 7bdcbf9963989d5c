/* The tasks in words, in the order in which they are offered. */

export const TASKS = {
  classify: { name: "Classify", about: "One name for each picture", data: "A folder, or a zip of it, with a folder of pictures for each class." },
  localise: { name: "Localise", about: "One name for each picture, and the place it was told from", data: "A folder or zip of pictures with a box for each: Pascal VOC, COCO, YOLO or CSV." },
  detect: { name: "Detect", about: "Every object, with a box", data: "A folder or zip of pictures and boxes: Pascal VOC, COCO, YOLO or CSV." },
  masks: { name: "Masks", about: "Every object, with its outline", data: "A folder or zip of pictures and outlines: COCO, or a mask picture beside each." },
  faces: { name: "Faces", about: "Tell people apart by their faces", data: "A folder or zip with a folder of photos for each person, of people who agreed." },
  landmarks: { name: "Landmarks", about: "Points of a face", data: "A folder or zip of faces and a file of points beside each." },
  finder: { name: "Find faces", about: "Where faces are", data: "A folder or zip of photos with a box for each face." },
  caption: { name: "Caption", about: "A sentence for each picture", data: "A folder or zip of pictures and their file of captions." },
  characters: { name: "Characters", about: "Write like a text, letter by letter", data: "One text file." },
  translate: { name: "Translate", about: "From one language to another", data: "One text file, a sentence and its translation in each line, with a tab between." },
};

export const nameOf = (task) => TASKS[task]?.name || task;

export const STATES = {
  waiting: "waits its turn", running: "runs", stopping: "stops after this step", stopped: "stopped", done: "done", failed: "failed",
};
export const moving = (state) => ["waiting", "running", "stopping"].includes(state);
