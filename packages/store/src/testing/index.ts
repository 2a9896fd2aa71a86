export { type ContractOptions, segmentStoreContract } from './segment-store-contract.ts';
