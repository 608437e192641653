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

/// The definition that a source sends to `vmctl receive`: what becomes of it, up to the process that would be started. Whatever
/// it says, the machine waits and is kept in as this host wants it, and its files are in the registry.
let receptionTarget = FuzzTarget(
  name: "reception",
  seeds: {
    var definition = VMDefinition(name: "a box")
    definition.description = "from elsewhere"
    definition.teleporter.password = "theirs"
    definition.sandbox = false
    return [Array(definition.toml().utf8), Array(MachineReception.portable(definition).utf8)]
  },
  run: { bytes in
    let home = FileManager.default.temporaryDirectory.path + "/vmctl-fuzz-reception-\(getpid())"
    defer { try? FileManager.default.removeItem(atPath: home) }
    let registry = Registry(home: home)
    let reception = MachineReception(registry, address: "127.0.0.1", passwordFile: "/secret")
    guard let definition = try? reception.arriving(String(decoding: bytes, as: UTF8.self)) else { return }
    var teleporter = VMDefinition.Teleporter()
    (teleporter.enabled, teleporter.address, teleporter.passwordFile) = (true, "127.0.0.1", "/secret")
    FuzzTarget.check(definition.teleporter == teleporter && definition.sandbox, "it says how it is kept here")
    guard let entry = try? registry.create(definition) else { return }
    do {
      let list = try registry.list()
      FuzzTarget.check(
        list.entries.map(\.definition) == [definition] && list.inaccessible.isEmpty, "another machine is there")
      let folders = try FileManager.default.contentsOfDirectory(atPath: home + "/machines")
      FuzzTarget.check(folders == [definition.name], "its files are elsewhere")
      try registry.unregister(entry, delete: true)
      FuzzTarget.check(try registry.list().entries.isEmpty, "it is still there")
      // As it goes on to the next host.
      let next = try reception.arriving(MachineReception.portable(definition))
      FuzzTarget.check(next == definition, "the next host has another machine")
    } catch {
      FuzzTarget.check(false, "a machine that was taken is lost: \(error)")
    }
  })

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

/// What a viewer says to a machine's screen, and what it hears: both are understood only as they would have been said.
let screenTarget = FuzzTarget(
  name: "screen",
  seeds: {
    [
      ScreenInput.keys([0xE0, 0x48]).encoded, ScreenInput.move(dx: 1, dy: -1, wheel: 0, buttons: 1).encoded,
      ScreenInput.place(x: 1, y: 2, wheel: 1, buttons: 0).encoded, ScreenInput.text("ls").encoded,
      ScreenNews.picture(width: 640, height: 480).encoded,
      ScreenNews.changes([ScreenRectangle(x: 0, y: 1, width: 2, height: 3)]).encoded,
    ]
  },
  run: { bytes in
    if let input = ScreenInput(bytes) {
      FuzzTarget.check(input.encoded == bytes, "an input means something else")
      if case .keys(let codes) = input { _ = HeldKeys.strokes(codes) }
    }
    if let news = ScreenNews(bytes) { FuzzTarget.check(ScreenNews(news.encoded) == news, "news change") }
  })
