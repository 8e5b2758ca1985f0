// structured-headers, the oracle of some tests, names this DOM type; our lib has no DOM.
type BufferSource = ArrayBufferView | ArrayBuffer;
