import Foundation
import Machine
import SavedState

/// Writes a paused machine, whole, to `path`. The file is there complete or not at all; when this throws (a full disk),
/// the machine is as it was and can run on.
public func saveMachine(
  _ vm: some TeleportableMachine, to path: String, progress: (_ pages: Int, _ of: Int) throws -> Void = { _, _ in }
) throws {
  // Before it is noted when the media were written last, that has happened.
  vm.flushMedia()
  var hardware = try vm.hardwareDescription()
  for sample in try vm.sampleMedia(.many) {
    guard let index = hardware.storage.firstIndex(where: { $0.place == sample.place }) else { continue }
    hardware.storage[index].medium?.samples = sample.samples
  }
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

/// Loads what `saveMachine` wrote into a machine that is fresh from its initialiser and has locked its media. The hardware
/// and the media are compared before anything is taken in; all differences are told at once. When this throws, the machine
/// is to be thrown away.
/// - Parameters:
///   - force: goes on with disks that have changed since the state was saved.
///   - hasOtherDisks: those that the guest writes are other files than then, with the same content.
/// - Returns: what the user should know: discs that are others, disks that have changed and were forced.
/// - Throws: `SavedHardwareDiffers` with every difference, `ChangedMediaError` for disks that have changed, or
///   `SavedStateError`.
@discardableResult
public func loadMachine(
  _ vm: some TeleportableMachine, from path: String, force: Bool = false, hasOtherDisks: Bool = false,
  progress: (_ pages: Int, _ of: Int) throws -> Void = { _, _ in }
) throws -> [String] {
  try StateFile.read(path) { source in
    let reader = try StateReader(source: source)
    guard case .section(let first) = try reader.next(), first.name == SavedMachine.name else {
      throw SavedStateError.corrupt("it does not open with the machine's hardware")
    }
    let saved = try first.decode(HardwareDescription.self, kind: SavedMachine.kind, upTo: SavedMachine.version)
    let present = try vm.hardwareDescription()
    let mismatches = HardwareCheck.compare(source: saved, target: present, media: .sized)
    guard mismatches.isEmpty else { throw SavedHardwareDiffers(mismatches: mismatches) }
    let media = SavedMedia(saved: saved.storage, present: present.storage)
    let changes = try media.changedDisks(in: vm, areOthers: hasOtherDisks)
    guard changes.isEmpty || force else { throw ChangedMediaError(changes: changes) }
    try SavedMachine.takeIn(vm, reader, progress)
    let discs = media.replacedDiscs
    vm.discsWereReplaced(in: discs.map(\.place))
    return changes.map { "forced: \($0)" }
      + discs.map { "the \($0.drive) has \($0.now) now\($0.isFloppy ? ", as the guest will see" : "")" }
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
