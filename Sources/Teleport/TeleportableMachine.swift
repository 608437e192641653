import DiskImages
import GuestMemory
import Machine
import SavedState

/// What a teleport needs of a machine. `VirtualMachine` is one; tests have a smaller one.
public protocol TeleportableMachine: AnyObject, Sendable {
  var memory: PhysicalMemory { get }
  var teleportState: VirtualMachine.RunState { get }
  func start(paused: Bool)
  func pause()
  func resume()
  func startDirtyLog()
  func stopDirtyLog()
  /// Lets the CPUs rest for `percent` of the time, 0 to 99.9.
  func throttle(_ percent: Double)
  func takeDirtyPages(into bitmap: inout PageBitmap) -> Int
  func saveState() throws -> [StateSection]
  func loadState(_ sections: [StateSection]) throws
  func hardwareDescription() throws -> HardwareDescription
  /// For this machine alone. Done already when they are claimed.
  func lockMedia() throws
  /// So that the other side can share them and no other writer can take them. With everything that was written on
  /// stable storage.
  func shareMedia() throws
  /// For this machine alone as soon as nobody else holds them; it may run meanwhile.
  func claimMedia()
  /// What keeps it from taking the media that the guest only reads, while another machine has the others.
  func mediaObstacles() -> [String]
  /// Brings what the guest has written to stable storage, while it runs on.
  func flushMedia()
  /// With everything that was written on stable storage.
  func unlockMedia()
  /// Shows to whoever has the same media open that they are this machine's: `hardwareDescription` tells what is seen then.
  func markMedia() throws
  func unmarkMedia()
  /// Samples of the media that the guest writes, while it does not run.
  func sampleMedia(_ extent: MediumSamples.Extent) throws -> [MediumSample]
  /// What is not as another machine has sampled it, or nil. What was written last there is remembered here.
  func mediaDifference(from list: [MediumSample], in kinds: Set<MachineConfiguration.Attachment.Kind>) throws -> String?
  /// After `loadState`: the guest knows other discs in these drives.
  func discsWereReplaced(in places: [HardwareDescription.StorageSlot.Place])
  /// Ends a machine that is not wanted any more, started or not.
  func powerOff()
  /// Does what the process would do for the first time when this machine runs. May take a while; safe on any thread.
  func rehearse()
}

extension TeleportableMachine {
  public func rehearse() {}
  public func mediaObstacles() -> [String] { [] }
}

extension VirtualMachine: TeleportableMachine {
  public var teleportState: RunState { guestHasEnded ? .stopped : runState }
}
