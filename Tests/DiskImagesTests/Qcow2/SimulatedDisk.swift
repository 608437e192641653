import Foundation

@testable import DiskImages

/// A file in memory that remembers what was done to it, and what may be left of that when the host is cut off: all that a sync
/// has covered, and of the rest any sectors, in any order.
final class SimulatedDisk: ClusterStorage, @unchecked Sendable {
  enum Event {
    case write(offset: Int, bytes: [UInt8])
    case resize(Int)
    case punch(Range<Int>)
    case sync
  }

  let path = "simulated"
  private(set) var content: [UInt8]
  private(set) var events: [Event] = []
  /// From so many events on everything that writes fails.
  var failsAfter = Int.max

  init(_ content: [UInt8] = []) { self.content = content }

  var length: UInt64 { UInt64(content.count) }
  var growsWithZeros: Bool { true }

  func read(at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws(DiskImageError) {
    buffer.initializeMemory(as: UInt8.self, repeating: 0)
    guard offset < UInt64(content.count), buffer.count > 0 else { return }
    let part = content[Int(offset)..<min(content.count, Int(offset) + buffer.count)]
    part.withUnsafeBytes { buffer.copyMemory(from: $0) }
  }

  func write(at offset: UInt64, from buffer: UnsafeRawBufferPointer) throws(DiskImageError) {
    guard offset <= UInt64(Int64.max) / 2 else { throw .noSpace(path: path) }
    try add(.write(offset: Int(offset), bytes: Array(buffer)))
  }
  func sync() throws(DiskImageError) { try add(.sync) }
  func resize(to length: UInt64) throws(DiskImageError) { try add(.resize(Int(length))) }
  func punchHole(at offset: UInt64, count: UInt64) -> Bool {
    (try? add(.punch(Int(offset)..<Int(offset + count)))) != nil
  }

  /// Bytes that it may have at most.
  var limit = Int.max

  private func add(_ event: Event) throws(DiskImageError) {
    switch event {
    case .write(let offset, let bytes):
      guard offset <= limit - bytes.count else { throw .noSpace(path: path) }
    case .resize(let count):
      guard count <= limit else { throw .noSpace(path: path) }
    case .punch, .sync: break
    }
    guard events.count < failsAfter else { throw .noSpace(path: path) }
    events.append(event)
    Self.apply(event, to: &content) { _ in true }
  }

  /// - Parameter comes: whether a sector of it has come to the disk.
  static func apply(_ event: Event, to content: inout [UInt8], _ comes: (Int) -> Bool) {
    func reach(_ end: Int) {
      if content.count < end { content += [UInt8](repeating: 0, count: end - content.count) }
    }
    switch event {
    case .sync: break
    case .resize(let count):
      guard comes(0) else { return }
      if count < content.count { content.removeLast(content.count - count) }
      reach(count)
    case .punch(let range):
      for place in range.clamped(to: 0..<content.count) where place % 512 == 0 && comes(place / 512) {
        for byte in place..<min(place + 512, content.count) { content[byte] = 0 }
      }
    case .write(let offset, let bytes):
      var done = 0
      while done < bytes.count {
        let count = min(512 - (offset + done) % 512, bytes.count - done)
        if comes((offset + done) / 512) {
          reach(offset + done + count)
          content.replaceSubrange((offset + done)..<(offset + done + count), with: bytes[done..<(done + count)])
        }
        done += count
      }
    }
  }

  /// What may be there when the power goes before event `cut`.
  /// - Parameter durable: what is left for certain, and how many events are in it; goes on with the cut.
  func remains(
    at cut: Int, after durable: inout (content: [UInt8], events: Int), _ random: inout SeededRandom
  ) -> [UInt8] {
    if let last = events[durable.events..<cut].lastIndex(where: { if case .sync = $0 { true } else { false } }) {
      for event in events[durable.events..<last] { Self.apply(event, to: &durable.content) { _ in true } }
      durable.events = last + 1
    }
    var rest = durable.content
    // Sometimes nearly all of it, sometimes nearly nothing.
    let share = [2, 50, 98][Int.random(in: 0..<3, using: &random)]
    for event in events[durable.events..<cut].shuffled(using: &random) {
      Self.apply(event, to: &rest) { _ in Int.random(in: 0..<100, using: &random) < share }
    }
    return rest
  }
}

/// The same numbers from the same seed.
struct SeededRandom: RandomNumberGenerator {
  private var state: UInt64
  init(_ seed: UInt64) { state = seed }
  /// SplitMix64 (Steele, Lea and Flood, 2014).
  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }
}

/// The content of a base in tests.
final class BlockContent: BackingContent {
  let bytes: [UInt8]
  init(_ bytes: [UInt8]) { self.bytes = bytes }
  var size: UInt64 { UInt64(bytes.count) }
  func read(at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws(DiskImageError) {
    bytes[Int(offset)..<(Int(offset) + buffer.count)].withUnsafeBytes { buffer.copyMemory(from: $0) }
  }
}

extension Qcow2Volume {
  func bytes(at offset: UInt64, count: Int) throws -> [UInt8] {
    var bytes = [UInt8](repeating: 0xEE, count: count)
    let result = Result { try bytes.withUnsafeMutableBytes { try read(at: offset, into: $0) } }
    try result.get()
    return bytes
  }
  func write(_ bytes: [UInt8], at offset: UInt64) throws {
    try bytes.withUnsafeBytes { try write(at: offset, from: $0) }
  }
}

/// qemu-img and qemu-io, which are the truth.
enum QEMU {
  static func run(_ program: String, _ arguments: [String]) throws -> (status: Int32, output: String) {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/" + program)
    process.arguments = arguments
    let pipe = Pipe()
    process.standardOutput = pipe
    process.standardError = pipe
    process.standardInput = FileHandle.nullDevice
    try process.run()
    let output = pipe.fileHandleForReading.readDataToEndOfFile()
    process.waitUntilExit()
    return (process.terminationStatus, String(decoding: output, as: UTF8.self))
  }

  /// What it says when it fails; nil: it has not.
  static func failure(_ arguments: String...) throws -> String? {
    let (status, output) = try run("qemu-img", arguments)
    return status == 0 ? nil : "\(status): \(output)"
  }

  /// nil: no corruption. Leaks (status 3) are none.
  static func corruption(in path: String) throws -> String? {
    let (status, output) = try run("qemu-img", ["check", "-f", "qcow2", path])
    return status == 0 || status == 3 ? nil : "\(status): \(output)"
  }
}
