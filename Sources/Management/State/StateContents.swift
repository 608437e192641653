import Foundation
import GuestMemory
import Machine
import SavedState

/// A machine's state as it is looked at: its sections, and a checksum for each page of its memory.
public struct StateContents: Equatable, Sendable {
  /// The build that wrote it.
  public var build: String
  /// In the order of the state.
  public var sections: [StateSection]
  /// By page; empty: memory was not looked at.
  public var pages: [UInt64] = []

  /// The saved state in a file, all of it checked.
  /// - Throws: `SavedStateError` or `StateFileError`.
  public init(file: String) throws {
    let zero = PageChunkEncoder.zeroChecksum
    var sections: [StateSection] = []
    var pages: [UInt64] = []
    build = try StateFile.read(file) { source in
      let reader = try StateReader(source: source)
      let decoder = PageChunkDecoder()
      var count = 0
      while let item = try reader.next() {
        switch item {
        case .section(let section): sections.append(section)
        // Pages are counted as they come: a file may promise what it has not.
        case .memory(let promised): count = promised
        case .chunk(let bytes):
          try decoder.decode(bytes, pageCount: count) { page, content in
            guard page == pages.count else {
              throw SavedStateError.corrupt("memory page \(page) instead of \(pages.count)")
            }
            switch content {
            case .zero: pages.append(zero)
            case .data(let bytes):
              pages.append(Checksum.of(UnsafeRawBufferPointer(start: bytes, count: PageChunk.pageSize)))
            case .difference: throw SavedStateError.corrupt("memory page \(page): a difference, and to nothing")
            }
          }
        }
      }
      guard pages.count == count else { throw SavedStateError.truncated("memory") }
      return reader.build
    }
    self.sections = sections
    self.pages = pages
  }

  /// The state of a machine that stands still.
  /// - Throws: what the machine's devices throw.
  init(of vm: VirtualMachine, withMemory: Bool) throws {
    build = StateFormat.build
    sections = try vm.saveState()
    guard withMemory else { return }
    let memory = vm.memory
    let touched = memory.touchedPages(in: 0..<memory.pageCount)
    pages = (0..<memory.pageCount).map { page in
      guard touched.contains(page) else { return PageChunkEncoder.zeroChecksum }
      let start = memory.ram + page * PageChunk.pageSize
      return Checksum.of(UnsafeRawBufferPointer(start: start, count: PageChunk.pageSize))
    }
  }

  // MARK: From a VM process

  /// As a VM process sends it: the number of pages (8 bytes), their checksums, the sections.
  func encoded() throws -> [UInt8] {
    var writer = ByteWriter()
    writer.put(UInt64(pages.count))
    for page in pages { writer.put(page) }
    writer.put(bytes: try SectionCodec.encodeAll(sections))
    return writer.bytes
  }

  /// What a VM process of this build has sent.
  init(encoded bytes: [UInt8]) throws {
    build = StateFormat.build
    var reader = ByteReader(bytes, subject: "state")
    let count = try reader.number(UInt64.self)
    guard count <= UInt64(reader.remaining / 8) else { throw SavedStateError.truncated("state") }
    for _ in 0..<count { pages.append(try reader.number(UInt64.self)) }
    sections = try SectionCodec.decodeAll(Array(try reader.take(reader.remaining)))
  }
}

extension VMEntry {
  /// The state of this machine: that in a file, or without one its own, the running one's or the one it has saved.
  /// - Parameter withMemory: what takes its time at a running machine, which stands still meanwhile.
  /// - Throws: `ManagementError` when there is none, or it cannot be read.
  public func state(file: String?, withMemory: Bool) throws -> StateContents {
    if let file { return try Self.read(Paths.absolute(file)) }
    let state = try folder.currentStatus().state
    if state == .saved { return try Self.read(folder.state) }
    guard state.isLive else {
      throw ManagementError(
        "the machine \"\(name)\" has no state (it is \(state.rawValue))",
        remedy: "start it, or name a file that controlvm savestate has written")
    }
    var request = ControlRequest(.state)
    request.text = withMemory ? "memory" : nil
    return try StateContents(encoded: try ControlClient(self).request(request).data)
  }

  private static func read(_ file: String) throws -> StateContents {
    do {
      return try StateContents(file: file)
    } catch {
      throw ManagementError(
        "\(file) cannot be shown: \(ManagementError.line(for: error))",
        remedy: "name a file that controlvm savestate has written")
    }
  }
}
