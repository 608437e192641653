import Foundation
import Machine
import SavedState

@testable import Teleport

/// A teleport's stream as it comes, and, since checksums keep a mutation from getting deep, what a frame carries.
let wireTarget = FuzzTarget(
  name: "wire",
  seeds: {
    let hello = Message.Hello(
      minVersion: 1, maxVersion: 2, build: "vmctl", name: "box", uuid: "216741d7-2754-4fcd-b25f-734d66fbff49",
      intent: .teleport, nonce: String(repeating: "0", count: 64), password: false, paused: false)
    let frames = [
      Wire.Frame(.hello, Message.encode(hello)), Wire.Frame(.roundEnd),
      Wire.Frame(.pages, PageChunk.encodeZeroRun(first: 0, count: 5)), try storedPages(),
      Wire.Frame(
        .devices, try SectionCodec.encodeAll([StateSection(name: "a", kind: "b", version: 1, state: ["c": 1])])),
    ]
    let stream = Wire.preface + frames.flatMap(Wire.encode)
    return [stream] + frames.map { [$0.type.rawValue] + $0.payload }
  },
  run: { bytes in
    var whole = Wire.Decoder()
    whole.feed(bytes)
    var frames: [Wire.Frame] = []
    while let frame = try? whole.next() { frames.append(frame) }
    var pieces = Wire.Decoder()
    var again: [Wire.Frame] = []
    for start in stride(from: 0, to: bytes.count, by: 5) {
      pieces.feed(bytes[start..<min(start + 5, bytes.count)])
      while let frame = try? pieces.next() { again.append(frame) }
    }
    FuzzTarget.check(frames == again, "another split gives other frames")
    for frame in frames { open(frame) }
    if let first = bytes.first, let type = Wire.FrameType(rawValue: first) {
      open(Wire.Frame(type, Array(bytes.dropFirst())))
    }
  })

/// Memory that is read into its place and taken from there.
private func storedPages() throws -> Wire.Frame {
  let encoder = PageChunkEncoder()
  encoder.compresses = false
  let memory = (0..<6 * PageChunk.pageSize).map { UInt8(truncatingIfNeeded: $0 &* 7 + 1) }
  var frame = Wire.Frame(.pages)
  try memory.withUnsafeBytes { bytes in
    for page in 0..<6 {
      try encoder.add(page: page, at: bytes.baseAddress! + page * PageChunk.pageSize) { frame.payload = $0 }
    }
    try encoder.flush { frame.payload = $0 }
  }
  return frame
}

private func open(_ frame: Wire.Frame) {
  _ = try? Message.decode(Message.Hello.self, frame)
  _ = try? Message.decode(Message.Accept.self, frame)
  _ = try? Message.decode(Message.Refusal.self, frame)
  _ = try? Message.decode(Message.Verify.self, frame)
  _ = try? Message.decode(HardwareDescription.self, frame)
  _ = try? SectionCodec.decodeAll(frame.payload)
  let decoder = PageChunkDecoder(takesDifferences: true)
  var pages = 0
  try? decoder.decode(frame.payload, pageCount: 4096) { page, _ in
    FuzzTarget.check((0..<4096).contains(page), "page \(page) of 4096")
    pages += 1
  }
  FuzzTarget.check(pages <= PageChunk.maxPages || frame.payload.count < 64, "\(pages) pages of one chunk")
}

/// A saved state as a file, and one section of it.
let sectionTarget = FuzzTarget(
  name: "section",
  seeds: {
    let section = StateSection(name: "vga", kind: "vga", version: 2, fields: Data("{}".utf8), blob: Data([1, 2, 3]))
    var file: [UInt8] = []
    let writer = try StateWriter { file += $0 }
    try writer.write(section)
    try [UInt8](repeating: 0, count: 3 * 4096).withUnsafeBytes { try writer.writeMemory($0.baseAddress!, pageCount: 3) }
    try writer.finish()
    return [file, try SectionCodec.encode(section), try SectionCodec.encodeAll([section])]
  },
  run: { bytes in
    if let reader = try? StateReader(bytes) {
      while let item = try? reader.next() {
        if case .chunk(let chunk) = item { try? PageChunkDecoder().decode(chunk, pageCount: 64) { _, _ in } }
      }
    }
    if let section = try? SectionCodec.decode(bytes) {
      FuzzTarget.check((try? SectionCodec.decode(SectionCodec.encode(section))) == section, "a section changes")
    }
    _ = try? SectionCodec.decodeAll(bytes)
  })

/// A whole machine's state in which one section's fields are the input: "NAME\n" and then JSON. What is taken in must be
/// saved again, and a machine with it must run without harm to the process.
let machineTarget = FuzzTarget(
  name: "machine",
  seeds: {
    try baseState.map { Array($0.name.utf8) + [10] + $0.fields }
  },
  run: { bytes in
    guard let end = bytes.firstIndex(of: 10) else { return }
    let name = String(decoding: bytes[..<end], as: UTF8.self)
    guard let state = try? baseState, let index = state.firstIndex(where: { $0.name == name }) else { return }
    var sections = state
    sections[index].fields = Data(bytes[(end + 1)...])
    guard let machine = try? makeMachine() else { return }
    guard (try? machine.loadState(sections)) != nil else { return }
    do {
      _ = try machine.saveState()
      _ = machine.screenshot()
    } catch {
      FuzzTarget.check(false, "what was loaded cannot be saved: \(error)")
    }
    machine.start()
    usleep(300)
    machine.pause()
    FuzzTarget.check((try? machine.saveState()) != nil || machine.guestHasEnded, "a machine that ran cannot be saved")
    machine.powerOff()
  })

private func makeMachine() throws -> VirtualMachine {
  var configuration = MachineConfiguration()
  configuration.memoryMB = 4
  configuration.storageControllers = [
    .init(name: "Floppy", bus: .floppy, attachments: [.init(port: 0, device: 0, kind: .fdd, medium: nil)])
  ]
  return try VirtualMachine(configuration)
}

nonisolated(unsafe) private var cachedState: [StateSection]?
/// What a machine saves that has run its firmware for a moment.
private var baseState: [StateSection] {
  get throws {
    if let cachedState { return cachedState }
    let machine = try makeMachine()
    machine.start()
    usleep(100_000)
    machine.pause()
    let state = try machine.saveState()
    machine.powerOff()
    cachedState = state
    return state
  }
}
