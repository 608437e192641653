import Foundation
import Machine
import SavedState

/// Writes a paused machine, whole, to `path`. The file is there complete or not at all; when this throws (a full disk),
/// the machine is as it was and can run on.
public func saveMachine(
  _ vm: some TeleportableMachine, to path: String, progress: (_ pages: Int, _ of: Int) throws -> Void = { _, _ in }
) throws {
  let hardware = try vm.hardwareDescription()
  let sections = try vm.saveState()
  let pageCount = vm.memory.pageCount
  try StateFile.replace(path) { sink in
    let writer = try StateWriter(sink: sink)
    try writer.write(
      StateSection(name: SavedMachine.name, kind: SavedMachine.kind, version: SavedMachine.version, state: hardware))
    for section in sections { try writer.write(section) }
    try writer.writeMemory(UnsafeRawPointer(vm.memory.ram), pageCount: pageCount) { try progress($0, pageCount) }
    try writer.finish()
  }
}

/// Loads what `saveMachine` wrote into a machine that is fresh from its initialiser. The hardware is compared before
/// anything is taken in; all differences are told at once. When this throws, the machine is to be thrown away.
/// - Throws: `SavedHardwareDiffers` with every difference, or `SavedStateError`.
public func loadMachine(
  _ vm: some TeleportableMachine, from path: String,
  progress: (_ pages: Int, _ of: Int) throws -> Void = { _, _ in }
) throws {
  try StateFile.read(path) { source in
    let reader = try StateReader(source: source)
    guard case .section(let first) = try reader.next(), first.name == SavedMachine.name else {
      throw SavedStateError.corrupt("it does not open with the machine's hardware")
    }
    let saved = try first.decode(HardwareDescription.self, kind: SavedMachine.kind, upTo: SavedMachine.version)
    let mismatches = HardwareCheck.compare(source: saved, target: try vm.hardwareDescription())
    guard mismatches.isEmpty else { throw SavedHardwareDiffers(mismatches: mismatches) }
    try SavedMachine.takeIn(vm, reader, progress)
  }
}

/// The machine that is to go on from a saved state is another one than the state's.
public struct SavedHardwareDiffers: Error, Equatable, CustomStringConvertible, Sendable {
  /// Every difference; the source is the saved state.
  public var mismatches: [HardwareMismatch]

  public init(mismatches: [HardwareMismatch]) { self.mismatches = mismatches }

  public var description: String {
    "the saved state is of other hardware"
      + mismatches.map { "\n  \($0.subject): saved \($0.sourceText), now \($0.targetText)" }.joined()
  }
}

enum SavedMachine {
  static let name = "hardware"
  static let kind = "hardware-description"
  /// 2: the settings are one table. Version 1 is read.
  static let version = 2

  static func takeIn(_ vm: some TeleportableMachine, _ reader: StateReader, _ progress: (Int, Int) throws -> Void)
    throws
  {
    let ram = vm.memory.ram
    let pageCount = vm.memory.pageCount
    let decoder = PageChunkDecoder()
    var sections: [StateSection] = []
    var nextPage = 0
    while let item = try reader.next() {
      switch item {
      case .section(let section): sections.append(section)
      case .memory(let count):
        guard count == pageCount else {
          throw SavedStateError.mismatch("\(count) pages of memory, and the machine has \(pageCount)")
        }
      case .chunk(let bytes):
        try decoder.decode(bytes, pageCount: pageCount) { page, content in
          guard page == nextPage else { throw SavedStateError.corrupt("memory page \(page) instead of \(nextPage)") }
          nextPage += 1
          // The memory of a fresh machine is zero.
          if case .data(let source) = content {
            (ram + page * PageChunk.pageSize).copyMemory(from: source, byteCount: PageChunk.pageSize)
          }
        }
        try progress(nextPage, pageCount)
      }
    }
    guard nextPage == pageCount else { throw SavedStateError.truncated("memory") }
    try vm.loadState(sections)
  }
}
