import Foundation

@testable import Management

/// A definition file. What is read must be written so that it is read as the same, and edits of its text must say what was
/// edited and nothing else.
let definitionTarget = FuzzTarget(name: "definition", seeds: { [Array(VMDefinition(name: "a box").toml().utf8)] }) {
  bytes in
  let text = String(decoding: bytes, as: UTF8.self)
  guard let definition = try? VMDefinition(toml: text, file: "fuzz", checkingHost: false) else { return }
  do {
    let again = try VMDefinition(toml: definition.toml(), file: "again", checkingHost: false)
    FuzzTarget.check(again == definition, "a definition changes when it is written and read")
    FuzzTarget.check(try definition.toml(changing: text, file: "same") == text, "an edit of nothing changes the text")
    var other = definition
    other.hardware.memoryMB = definition.hardware.memoryMB == 1 ? 2 : 1
    other.hardware.kernel = other.hardware.kernel == nil ? "/kernel" : nil
    other.teleporter.port ^= 1
    let edited = try other.toml(changing: text, file: "edit")
    let read = try VMDefinition(toml: edited, file: "edited", checkingHost: false)
    FuzzTarget.check(read == other, "an edit says something else")
  } catch {
    FuzzTarget.check(false, "what was written is not read: \(error)")
  }
}

/// What comes in on the control socket, up to the request.
let controlTarget = FuzzTarget(name: "control") { bytes in
  var framer = LineFramer()
  guard let lines = try? framer.feed(bytes) else { return }
  for line in lines + [bytes] {
    _ = try? JSONDecoder().decode(ControlRequest.self, from: Data(line))
    _ = try? JSONDecoder().decode(ControlReply.self, from: Data(line))
  }
}

/// A telnet client. Any split of its bytes must mean the same.
let telnetTarget = FuzzTarget(name: "telnet") { bytes in
  var whole = TelnetCodec()
  let one = whole.receive(bytes)
  var pieces = TelnetCodec()
  var data: [UInt8] = []
  var reply: [UInt8] = []
  for byte in bytes {
    let part = pieces.receive([byte])
    data += part.data
    reply += part.reply
  }
  FuzzTarget.check(one.data == data && one.reply == reply, "another split means something else")
  FuzzTarget.check(data.count <= bytes.count, "more data than came")
  FuzzTarget.check(reply.count <= bytes.count, "more is answered than was said")
  let sent = whole.send(bytes)
  FuzzTarget.check(sent.count >= bytes.count && sent.count <= 2 * bytes.count, "output of \(sent.count) bytes")
}
